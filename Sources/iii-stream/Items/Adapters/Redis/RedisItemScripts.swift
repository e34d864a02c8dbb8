import IIIRedis

/// The store's steps, each atomic at the server.
///
/// Values are opaque: no script decodes one. What becomes of a value is decided in this process, by the same code as for every other store, and
/// a script stores it if the value is still the one that was decided about (compare and set by revision). So types, digits and the order of
/// members stay as they were written.
///
/// The facts about a value are one text: `length expires revision place created updated turn until`, numbers in decimal. `expires` is 0 for never; `length` is
/// the value's: where it does not fit, somebody else has written the value, and it gets a new revision. `turn` and `until`: which
/// process may change the value next, and how long others wait for it; see `RedisItemStore`.
///
/// Revisions are the server's time in microseconds, or one more than the last one: they go on upwards when the server has lost its data.
enum RedisItemScripts {
    static let all = [change, read, list, count, groups, expire, adopt]

    /// Every script begins with this; `K` are its keys: values, facts, order, groups, expiry, revision, names. ARGV[1]: milliseconds since 1970, empty for
    /// the server's own.
    private static let common = """
        local clock = redis.call('TIME')
        local now = tonumber(ARGV[1]) or (clock[1] * 1000 + math.floor(clock[2] / 1000))
        local function digits(number) return string.format('%.0f', number) end
        local function nextRevision(key, isRemoval)
          local number = clock[1] * 1000000 + clock[2]
          local last = tonumber(redis.call('GET', key) or '0') or 0
          -- Nothing of ours: somebody has overwritten it with what no double can count on from.
          if last > 9007199254000000 then last = 0 end
          if number <= last then number = last + 1 end
          number = digits(number)
          -- A server that is out of memory refuses SET; removing has to go on then, and the clock alone keeps the order.
          if isRemoval then redis.pcall('SET', key, number) else redis.call('SET', key, number) end
          return number
        end
        local function facts(text, known)
          if not known then return nil end
          local length, expires, revision, place, created, updated, turn, til =
            string.match(known, '^(%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%S+) (%d+)$')
          if not til or tonumber(length) ~= #text then return nil end
          return {expires = expires, revision = revision, place = place, created = created, updated = updated, turn = turn, til = til,
            known = known}
        end
        local function write(key, field, text, f)
          f.known = #text .. ' ' .. f.expires .. ' ' .. f.revision .. ' ' .. f.place .. ' ' .. f.created .. ' ' .. f.updated .. ' '
            .. f.turn .. ' ' .. f.til
          redis.call('HSET', key, field, f.known)
        end
        local function adopted(K, field, text, member)
          local revision = nextRevision(K[6])
          local place = redis.call('ZSCORE', K[3], field)
          place = place and digits(tonumber(place)) or revision
          local f = {revision = revision, place = place, created = digits(now), updated = digits(now), expires = '0', turn = '-', til = '0'}
          write(K[2], field, text, f)
          redis.call('ZADD', K[3], place, field)
          redis.call('ZADD', K[7], 0, field)
          redis.call('ZADD', K[4], 0, member)
          return f
        end
        local function adoptAll(K, member)
          for _, field in ipairs(redis.call('HKEYS', K[1])) do
            if not redis.call('ZSCORE', K[3], field) then adopted(K, field, redis.call('HGET', K[1], field), member)
            else redis.call('ZADD', K[7], 0, field) end
          end
          for _, field in ipairs(redis.call('ZRANGE', K[3], 0, -1)) do
            if redis.call('HEXISTS', K[1], field) == 0 then
              redis.call('ZREM', K[3], field)
              redis.call('ZREM', K[7], field)
              redis.call('HDEL', K[2], field)
            end
          end
          if redis.call('HLEN', K[1]) == 0 then redis.call('ZREM', K[4], member) end
        end
        local function drop(K, field, member)
          redis.call('HDEL', K[1], field)
          redis.call('HDEL', K[2], field)
          redis.call('ZREM', K[3], field)
          redis.call('ZREM', K[7], field)
          redis.call('ZREM', K[5], #member .. ':' .. member .. field)
          if redis.call('HLEN', K[1]) == 0 then
            redis.call('ZREM', K[4], member)
            redis.call('DEL', K[2], K[3], K[7])
          end
        end
        local function split(text)
          local length, rest = string.match(text, '^(%d+):(.*)$')
          length = tonumber(length)
          if not length or length > #rest then return nil end
          return string.sub(rest, 1, length), string.sub(rest, length + 1)
        end
        local function path(kind, member)
          local stream, name = split(member)
          if not stream then return nil end
          if kind == 'state' then return 'state:' .. name, stream, name end
          if string.find(stream, ':', 1, true) then return 'iii:stream:' .. member, stream, name end
          return 'stream:' .. stream .. ':' .. name, stream, name
        end
        -- Below every revision that is to come, also where the last one was lost with everything else.
        local function last()
          local number = tonumber(redis.call('GET', KEYS[6]) or '')
          if not number or number > 9007199254000000 then number = clock[1] * 1000000 + clock[2] - 1 end
          return digits(number)
        end

        """

    /// Changes of one group, all of them or none. ARGV now, group's member, maximum of items, who changes, whether to take the turn (1), channel (empty: none), a frame up to
    /// the time, the same behind the value up to the revision, and its rest; then for each change: key, expected revision (`*`: any, `0`: nothing), action (k, r, s), value,
    /// expiry (u, n, milliseconds), frame from the time to the kind of event.
    ///
    /// Answers `{'ok', {revision, changed, text or nil (only of `*`), facts or nil, new facts or nil, expired text or nil, its facts}, …}`, or, with nothing changed,
    /// `{'other', {number, text or nil, facts or nil}, …}`, `{'turn', milliseconds}`, `{'full'}`.
    static let change = RedisScript(
        common + """
            local member, who = ARGV[2], ARGV[4]
            local function tell(at, kind, value, revision)
              if ARGV[6] == '' then return end
              redis.call('PUBLISH', ARGV[6],
                ARGV[7] .. digits(now) .. ARGV[at + 5] .. kind .. '","data":' .. value .. ARGV[8] .. revision .. ARGV[9])
            end
            local steps, others, wait, added = {}, {'other'}, 0, 0
            for at = 10, #ARGV, 6 do
              local field, expected = ARGV[at], ARGV[at + 1]
              local text = redis.call('HGET', KEYS[1], field)
              local old = text and (facts(text, redis.call('HGET', KEYS[2], field)) or adopted(KEYS, field, text, member))
              if old and old.turn ~= '-' and old.turn ~= who and tonumber(old.til) > now then wait = math.max(wait, tonumber(old.til) - now) end
              local expired = old and old.expires ~= '0' and tonumber(old.expires) <= now
              local current = (old and not expired) and old.revision or '0'
              steps[#steps + 1] = {at = at, field = field, text = text, old = old, expired = expired}
              if expected ~= '*' and expected ~= current then
                others[#others + 1] = {#steps, current ~= '0' and text, current ~= '0' and old.known}
                steps[#steps].isOther = true
              end
              if ARGV[at + 2] == 's' and not old then added = added + 1 end
            end
            if wait > 0 then return {'turn', wait} end
            if #others > 1 then
              for _, step in ipairs(steps) do
                if ARGV[5] == '1' and step.isOther and step.old then
                  step.old.turn, step.old.til = who, digits(now + 100)
                  write(KEYS[2], step.field, step.text, step.old)
                end
              end
              return others
            end
            if added > 0 and redis.call('ZCARD', KEYS[3]) + added > tonumber(ARGV[3]) then return {'full'} end
            local answer = {'ok'}
            for _, step in ipairs(steps) do
              local at, field, text, old = step.at, step.field, step.text, step.old
              local action, value, expiry = ARGV[at + 2], ARGV[at + 3], ARGV[at + 4]
              local expiredText, expiredFacts = false, false
              if step.expired then
                local revision = nextRevision(KEYS[6], true)
                drop(KEYS, field, member)
                tell(at, 'delete', text, revision)
                expiredText, expiredFacts, old = text, old.known, nil
              end
              local oldFacts = old and old.known or false
              -- Who has said which revision it must be has the text.
              local shown = old and ARGV[at + 1] == '*' and text or false
              local revision, changed, newFacts = nil, 0, oldFacts
              if action == 's' then
                revision, changed = nextRevision(KEYS[6]), 1
                local expires = '0'
                if expiry == 'u' then expires = old and old.expires or '0'
                elseif expiry ~= 'n' then expires = digits(now + tonumber(expiry)) end
                local new = {revision = revision, place = old and old.place or revision, created = old and old.created or digits(now),
                  updated = digits(now), expires = expires, turn = '-', til = '0'}
                redis.call('HSET', KEYS[1], field, value)
                write(KEYS[2], field, value, new)
                if not old then
                  redis.call('ZADD', KEYS[3], new.place, field)
                  redis.call('ZADD', KEYS[7], 0, field)
                  redis.call('ZADD', KEYS[4], 0, member)
                end
                if expires ~= '0' then redis.call('ZADD', KEYS[5], expires, #member .. ':' .. member .. field)
                elseif old and old.expires ~= '0' then redis.call('ZREM', KEYS[5], #member .. ':' .. member .. field) end
                tell(at, old and 'update' or 'create', value, revision)
                newFacts = new.known
              elseif action == 'r' and old then
                revision, changed, newFacts = nextRevision(KEYS[6], true), 1, false
                drop(KEYS, field, member)
                tell(at, 'delete', text, revision)
              elseif old and old.turn ~= '-' then
                old.turn = '-'
                write(KEYS[2], field, text, old)
              end
              answer[#answer + 1] = {revision or last(), changed, shown, oldFacts, newFacts, expiredText, expiredFacts}
            end
            return answer
            """)

    /// ARGV now, key, group's member. Answers `{last revision, text or nil, facts or nil}`.
    static let read = RedisScript(
        common + """
            local text = redis.call('HGET', KEYS[1], ARGV[2])
            if not text then return {last()} end
            local f = facts(text, redis.call('HGET', KEYS[2], ARGV[2])) or adopted(KEYS, ARGV[2], text, ARGV[3])
            if f.expires ~= '0' and tonumber(f.expires) <= now then return {last()} end
            return {last(), text, f.known}
            """)

    /// ARGV now, order (place, name), where to begin (a place, or a bound of ZRANGEBYLEX), maximum of items (0: all), maximum of bytes, group's member, what names begin
    /// with. Answers `{last revision, end, key, text, facts, …}`.
    static let list = RedisScript(
        common + """
            local count = redis.call('HLEN', KEYS[1])
            if count ~= redis.call('ZCARD', KEYS[3]) or (ARGV[2] == 'name' and count ~= redis.call('ZCARD', KEYS[7])) then
              adoptAll(KEYS, ARGV[6])
            end
            local limit, room, prefix = tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[7]
            local function following(from)
              if ARGV[2] == 'place' then
                local rows = redis.call('ZRANGEBYSCORE', KEYS[3], '(' .. from, '+inf', 'WITHSCORES', 'LIMIT', 0, 100)
                local names = {}
                for i = 1, #rows, 2 do
                  if string.sub(rows[i], 1, #prefix) == prefix then names[#names + 1] = rows[i] end
                end
                return names, #rows > 0 and digits(tonumber(rows[#rows]))
              end
              local most = prefix == '' and '+' or '(' .. prefix .. string.char(255)
              local names = redis.call('ZRANGEBYLEX', KEYS[7], from, most, 'LIMIT', 0, 100)
              return names, #names > 0 and '(' .. names[#names]
            end
            local function collect()
              local found, count, bytes, from = {'', 'complete'}, 0, 0, ARGV[3]
              while true do
                local names
                names, from = following(from)
                if not from then return found end
                local texts = #names > 0 and redis.call('HMGET', KEYS[1], unpack(names))
                local known = #names > 0 and redis.call('HMGET', KEYS[2], unpack(names))
                for i, field in ipairs(names) do
                  local text = texts[i]
                  if not text then return nil end
                  local length, expires = string.match(known[i] or '', '^(%d+) (%d+) ')
                  local facts = known[i]
                  if not length or tonumber(length) ~= #text then
                    local f = adopted(KEYS, field, text, ARGV[6])
                    facts, expires = f.known, f.expires
                  end
                  if expires == '0' or tonumber(expires) > now then
                    bytes = bytes + #text
                    if limit > 0 and count >= limit then found[2] = 'limit' elseif bytes > room then found[2] = 'bytes' end
                    if found[2] ~= 'complete' then return found end
                    count = count + 1
                    local n = #found
                    found[n + 1], found[n + 2], found[n + 3] = field, text, facts
                  end
                end
              end
            end
            local found = collect()
            if not found then
              adoptAll(KEYS, ARGV[6])
              found = collect() or {'', 'complete'}
            end
            found[1] = last()
            return found
            """)

    /// ARGV now, group's member. Answers how many items the group has.
    static let count = RedisScript(
        common + """
            if redis.call('HLEN', KEYS[1]) ~= redis.call('ZCARD', KEYS[3]) then adoptAll(KEYS, ARGV[2]) end
            local count, lead = redis.call('HLEN', KEYS[1]), #ARGV[2] .. ':' .. ARGV[2]
            for _, mortal in ipairs(redis.call('ZRANGEBYSCORE', KEYS[5], '-inf', digits(now))) do
              if string.sub(mortal, 1, #lead) == lead then count = count - 1 end
            end
            return count
            """)

    /// KEYS groups, expiry; ARGV now, prefix of keys, kind (state, stream), what members begin with (empty: all). Answers members in the order of their bytes.
    static let groups = RedisScript(
        common + """
            local all
            if ARGV[4] == '' then all = redis.call('ZRANGE', KEYS[1], 0, -1)
            else all = redis.call('ZRANGEBYLEX', KEYS[1], '[' .. ARGV[4], '(' .. ARGV[4] .. string.char(255)) end
            local due, count = {}, 0
            for _, mortal in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', digits(now))) do
              local member = split(mortal) or ''
              due[member] = (due[member] or 0) + 1
              count = count + 1
            end
            if count == 0 then return all end
            local alive = {}
            for _, member in ipairs(all) do
              local n = due[member]
              if n then
                local key = path(ARGV[3], member)
                local count = key and redis.pcall('HLEN', ARGV[2] .. key)
                if type(count) ~= 'number' or count <= n then member = nil end
              end
              if member then alive[#alive + 1] = member end
            end
            return alive
            """)

    /// KEYS groups, expiry, revision; ARGV now, prefix of keys, kind, most items, most bytes, channel, database. Removes what has expired and tells of it. Answers `{mortal, text, facts, revision, …}`.
    static let expire = RedisScript(
        common + """
            local removed, bytes = {}, 0
            for _, mortal in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', digits(now), 'LIMIT', 0, ARGV[4])) do
              local member, field = split(mortal)
              local key, stream, name
              if member then key, stream, name = path(ARGV[3], member) end
              local K = key and {ARGV[2] .. key, ARGV[2] .. 'iii:facts:' .. key, ARGV[2] .. 'iii:order:' .. key, KEYS[1], KEYS[2], KEYS[3],
                ARGV[2] .. 'iii:names:' .. key}
              -- A key that somebody has put something else into stops nobody's expiry.
              local text = K and redis.pcall('HGET', K[1], field)
              if type(text) ~= 'string' then text = false end
              local f = text and facts(text, redis.call('HGET', K[2], field))
              if f and f.expires ~= '0' and tonumber(f.expires) <= now then
                local revision = nextRevision(KEYS[3], true)
                drop(K, field, member)
                if ARGV[6] ~= '' then
                  redis.call('PUBLISH', ARGV[6], '{"type":"stream","timestamp":' .. digits(now) .. ',"streamName":' .. cjson.encode(stream)
                    .. ',"groupId":' .. cjson.encode(name) .. ',"id":' .. cjson.encode(field) .. ',"event":{"type":"delete","data":' .. text
                    .. '},"iii":{"db":' .. ARGV[7] .. ',"revision":' .. revision .. '}}')
                end
                local n = #removed
                removed[n + 1], removed[n + 2], removed[n + 3], removed[n + 4] = mortal, text, f.known, revision
                bytes = bytes + #text
                if bytes > tonumber(ARGV[5]) then return removed end
              else
                redis.call('ZREM', KEYS[2], mortal)
              end
            end
            return removed
            """)

    /// ARGV now, group's member: takes the values of a hash into the index that somebody else has filled. Answers how many there are, 0 for a key of another type.
    static let adopt = RedisScript(
        common + """
            if redis.call('TYPE', KEYS[1]).ok ~= 'hash' then return 0 end
            if redis.call('HLEN', KEYS[1]) ~= redis.call('ZCARD', KEYS[3]) then adoptAll(KEYS, ARGV[2]) end
            redis.call('ZADD', KEYS[4], 0, ARGV[2])
            return redis.call('HLEN', KEYS[1])
            """)
}
