import IIIRedis

/// The steps of the Redis store, each atomic at the server and timed by its clock alone. Payloads and other texts are opaque to them.
///
/// Sorted sets and lists instead of a stream with a consumer group: a stream gives out in the order of entry only, so priorities, delays,
/// groups, what waits for a missing function, and taking one message out of the middle would each need a copy elsewhere anyway.
///
/// Keys, behind the prefix: `queues`, `paused` (sets), `records`, `bindings` (hashes), `version` (of the bindings), `o:<id>` (outcome of a
/// message that is done), channel `n`. Of each queue, behind `q:<queue>:`
///
/// | | |
/// |---|---|
/// | `m` | hash: message by id: a line of numbers, function, group and idempotency key, then what the process wrote |
/// | `p` | hash: attempts and failures, of those that have any |
/// | `r`, `b`, `d`, `x` | sorted sets of ids: ready, behind another of its group, delayed (by due time), dead (by failure) |
/// | `h:<function>`, `hf` | sorted set of what is held for a function; set of those functions |
/// | `a`, `t` | sorted set of what is claimed, by the end of its lease; hash of the claims' tokens |
/// | `g:<group>` | list of a group's ids; the first is in `r`, `d`, `a` or held, the others in `b` |
/// | `u:<key>` | id that an idempotency key stands for, with the window as its time to live |
/// | `s` | last score: 4096 a millisecond, never going back, so that no two messages have the same |
enum RedisQueueScripts {
    static let all = [
        enqueue, claim, settle, renew, reap, recover, state, keep, forget, configure, drop, counts, deadIndex, records, deadScan, redrive,
        discard, purge, cancel, find,
    ]

    /// ARGV prefix, process.
    private static let prelude = """
        local P, me = ARGV[1], ARGV[2]
        local call, fed = redis.call, {}
        local time = call('TIME')
        local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
        local function text(number) return string.format('%.0f', number) end
        local function base(queue) return P .. 'q:' .. queue .. ':' end
        local function nextScore(b)
          local score, last = now * 4096, tonumber(call('GET', b .. 's') or '0')
          if score <= last then score = last + 1 end
          call('SET', b .. 's', text(score))
          return score
        end
        local function write(score, due, created, fn, group, key, rest)
          return string.format('%.0f %.0f %.0f %d %d %d ', score, due, created, #fn, #group, #key) .. fn .. group .. key .. rest
        end
        local function read(record)
          local score, due, created, f, g, k, at = string.match(record, '^(%-?%d+) (%d+) (%d+) (%d+) (%d+) (%d+) ()')
          f, g, k = tonumber(f), tonumber(g), tonumber(k)
          local rest = at + f + g + k
          return score, tonumber(due), tonumber(created), string.sub(record, at, at + f - 1), string.sub(record, at + f, at + f + g - 1),
            string.sub(record, at + f + g, rest - 1), rest
        end
        local function place(b, id, score, due)
          if due > now then call('ZADD', b .. 'd', text(due), id) else call('ZADD', b .. 'r', score, id) end
        end
        local function advance(queue, b, group, id)
          if group == '' then return end
          local list = b .. 'g:' .. group
          if call('LINDEX', list, 0) ~= id then
            call('LREM', list, 1, id)
            return
          end
          call('LPOP', list)
          while true do
            local following = call('LINDEX', list, 0)
            if not following then return end
            call('ZREM', b .. 'b', following)
            local record = call('HGET', b .. 'm', following)
            if record then
              local score, due = read(record)
              place(b, following, score, due)
              fed[queue] = true
              return
            end
            call('LPOP', list)
          end
        end
        local function remove(b, id)
          local record = call('HGET', b .. 'm', id)
          call('HDEL', b .. 'm', id)
          call('HDEL', b .. 'p', id)
          if not record then return '' end
          local _, _, _, _, group, key = read(record)
          if key ~= '' and call('GET', b .. 'u:' .. key) == id then call('DEL', b .. 'u:' .. key) end
          return group
        end
        local function giveBack(queue, b, ids)
          for _, id in ipairs(ids) do
            call('ZREM', b .. 'a', id)
            call('HDEL', b .. 't', id)
            local record = call('HGET', b .. 'm', id)
            if record then
              call('ZADD', b .. 'r', (read(record)), id)
              fed[queue] = true
            end
          end
        end
        -- Leases that are over; not this process' own: it knows what it has, also when Redis was away for longer than a lease.
        local function expired(b)
          local ids = {}
          for _, id in ipairs(call('ZRANGEBYSCORE', b .. 'a', '-inf', now, 'LIMIT', 0, 500)) do
            local token = call('HGET', b .. 't', id)
            if not (token and string.find(token, '/' .. me .. '/', 1, true)) then ids[#ids + 1] = id end
          end
          return ids
        end
        local function tell()
          for queue in pairs(fed) do call('PUBLISH', P .. 'n', me .. ' ' .. queue) end
        end

        """

    private static func script(_ body: String) -> RedisScript { RedisScript(prelude + body) }

    /// ARGV …, units; each: version of the bindings it is made for (or empty), messages; each: queue, id, delay, group, shift of its priority,
    /// idempotency key, window, most messages of the queue, function, the rest. A unit is stored as a whole or not at all.
    static let enqueue = script(
        """
        local at, answers, known = 4, {}, {}
        for unit = 1, tonumber(ARGV[3]) do
          local version, count = ARGV[at], tonumber(ARGV[at + 1])
          at = at + 2
          local answer
          if version ~= '' and (call('GET', P .. 'version') or '0') ~= version then answer = {'stale'} end
          local new = {}
          for m = 0, count - 1 do
            local queue, most = ARGV[at + m * 10], tonumber(ARGV[at + m * 10 + 7])
            if not answer and most > 0 then
              local b = base(queue)
              local live = call('HLEN', b .. 'm') - call('ZCARD', b .. 'x')
              new[queue] = (new[queue] or 0) + 1
              if live + new[queue] > most then answer = {'full', queue, live, most} end
            end
          end
          if not answer then
            answer = {'ok'}
            for m = 0, count - 1 do
              local o = at + m * 10
              local queue, id, delay, group, key, fn = ARGV[o], ARGV[o + 1], tonumber(ARGV[o + 2]), ARGV[o + 3], ARGV[o + 5], ARGV[o + 8]
              local b = base(queue)
              local first = id
              if key ~= '' then
                first = call('GET', b .. 'u:' .. key) or id
                if first == id then call('SET', b .. 'u:' .. key, id, 'PX', math.max(1, tonumber(ARGV[o + 6]))) end
              end
              answer[#answer + 1] = first
              answer[#answer + 1] = first == id and 0 or 1
              -- One that is there already was sent again because its answer had got lost.
              if first == id and call('HEXISTS', b .. 'm', id) == 0 then
                local score = nextScore(b) - tonumber(ARGV[o + 4])
                local due = delay > 0 and now + delay or 0
                call('HSET', b .. 'm', id, write(score, due, now, fn, group, key, ARGV[o + 9]))
                if not known[queue] then
                  known[queue] = true
                  call('SADD', P .. 'queues', queue)
                end
                if group ~= '' and call('RPUSH', b .. 'g:' .. group, id) > 1 then
                  call('ZADD', b .. 'b', text(score), id)
                else
                  place(b, id, text(score), due)
                  fed[queue] = true
                end
              end
            end
          end
          at = at + count * 10
          answers[unit] = answer
        end
        tell()
        return answers
        """)

    /// ARGV …, queue, limit, token, lease, most bytes, functions to skip. First what is due and what somebody has lost is made ready.
    static let claim = script(
        """
        local queue, limit, token, lease, most = ARGV[3], tonumber(ARGV[4]), ARGV[5], tonumber(ARGV[6]), tonumber(ARGV[7])
        local b, out, given, bytes, aside, more = base(queue), {}, 0, 0, 0, 0
        if call('SISMEMBER', P .. 'paused', queue) == 1 then return {-1, 0, out} end
        for _, id in ipairs(call('ZRANGEBYSCORE', b .. 'd', '-inf', now, 'LIMIT', 0, 500)) do
          local record = call('HGET', b .. 'm', id)
          call('ZREM', b .. 'd', id)
          if record then call('ZADD', b .. 'r', (read(record)), id) end
        end
        giveBack(queue, b, expired(b))
        fed = {}
        local skip, sources = {}, {}
        for i = 8, #ARGV do skip[ARGV[i]] = true end
        for _, fn in ipairs(call('SMEMBERS', b .. 'hf')) do
          if call('EXISTS', b .. 'h:' .. fn) == 0 then call('SREM', b .. 'hf', fn)
          elseif not skip[fn] then sources[#sources + 1] = b .. 'h:' .. fn end
        end
        local hasProgress = call('EXISTS', b .. 'p') == 1
        local function take(source, id, score)
          local record = call('HGET', b .. 'm', id)
          if not record then return end
          if source == b .. 'r' and next(skip) then
            local _, _, _, fn = read(record)
            if skip[fn] then
              call('ZADD', b .. 'h:' .. fn, score, id)
              call('SADD', b .. 'hf', fn)
              aside = aside + 1
              fed[queue] = true
              return
            end
          end
          call('ZADD', b .. 'a', text(now + lease), id)
          call('HSET', b .. 't', id, token)
          out[#out + 1] = id
          out[#out + 1] = record
          out[#out + 1] = hasProgress and call('HGET', b .. 'p', id) or ''
          given = given + 1
          bytes = bytes + #record
        end
        while given < limit and more == 0 do
          if bytes >= most or aside >= 500 then more = 1 break end
          if #sources == 0 then
            local popped = call('ZPOPMIN', b .. 'r', limit - given)
            if #popped == 0 then break end
            for i = 1, #popped, 2 do
              if bytes >= most then
                more = 1
                call('ZADD', b .. 'r', popped[i + 1], popped[i])
              else
                take(b .. 'r', popped[i], popped[i + 1])
              end
            end
          else
            local source, id, score
            for i = 0, #sources do
              local key = i == 0 and b .. 'r' or sources[i]
              local first = call('ZRANGE', key, 0, 0, 'WITHSCORES')
              if first[1] and (not id or tonumber(first[2]) < tonumber(score)) then source, id, score = key, first[1], first[2] end
            end
            if not id then break end
            call('ZREM', source, id)
            take(source, id, score)
          end
        end
        tell()
        local due = call('ZRANGE', b .. 'd', 0, 0, 'WITHSCORES')[2]
        return {due and math.max(1, tonumber(due) - now) or -1, more, out}
        """)

    /// ARGV …, then of each: kind, queue, id, token, group, and three that depend on the kind. 1: done, 0: the claim has passed to somebody else.
    static let settle = script(
        """
        local done = {}
        for i = 3, #ARGV, 8 do
          local kind, queue, id, group = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 4]
          local b = base(queue)
          local isOurs = call('HGET', b .. 't', id) == ARGV[i + 3]
          done[#done + 1] = isOurs and 1 or 0
          if isOurs then
            call('ZREM', b .. 'a', id)
            call('HDEL', b .. 't', id)
            if kind == 'done' then
              call('HDEL', b .. 'm', id)
              if ARGV[i + 5] == '1' then call('HDEL', b .. 'p', id) end
              advance(queue, b, group, id)
              if ARGV[i + 6] ~= '0' then call('SET', P .. 'o:' .. id, #queue .. ' ' .. queue .. ARGV[i + 7], 'PX', ARGV[i + 6]) end
            elseif kind == 'retry' then
              call('HSET', b .. 'p', id, ARGV[i + 6])
              call('ZADD', b .. 'd', text(now + tonumber(ARGV[i + 5])), id)
              fed[queue] = true
            elseif kind == 'dead' then
              call('HSET', b .. 'p', id, ARGV[i + 5])
              call('ZADD', b .. 'x', text(nextScore(b)), id)
              advance(queue, b, group, id)
            elseif kind == 'hold' then
              call('ZADD', b .. 'h:' .. ARGV[i + 6], ARGV[i + 5], id)
              call('SADD', b .. 'hf', ARGV[i + 6])
              fed[queue] = true
            else
              call('ZADD', b .. 'r', ARGV[i + 5], id)
              fed[queue] = true
            end
          end
        end
        tell()
        return done
        """)

    /// ARGV …, lease, then queue, id and token of each. Answers the places (from 0) of those that have passed to somebody else.
    static let renew = script(
        """
        local lost = {}
        for i = 4, #ARGV, 3 do
          local b = base(ARGV[i])
          if call('HGET', b .. 't', ARGV[i + 1]) == ARGV[i + 2] then
            call('ZADD', b .. 'a', 'XX', text(now + tonumber(ARGV[3])), ARGV[i + 1])
          else
            lost[#lost + 1] = (i - 4) / 3
          end
        end
        return lost
        """)

    /// ARGV …, queues. Leases that are over end. Answers the queues in which something is to be had.
    static let reap = script(
        """
        local found = {}
        for i = 3, #ARGV do
          local b = base(ARGV[i])
          giveBack(ARGV[i], b, expired(b))
          if fed[ARGV[i]] or call('ZCOUNT', b .. 'd', '-inf', now) > 0 then found[#found + 1] = ARGV[i] end
        end
        tell()
        return found
        """)

    /// ARGV …, queue, beginning of the tokens whose claims end.
    static let recover = script(
        """
        local b, ids, tokens = base(ARGV[3]), {}, call('HGETALL', base(ARGV[3]) .. 't')
        for i = 1, #tokens, 2 do
          if string.sub(tokens[i + 1], 1, #ARGV[4]) == ARGV[4] then ids[#ids + 1] = tokens[i] end
        end
        giveBack(ARGV[3], b, ids)
        tell()
        return #ids
        """)

    static let state = script(
        """
        return {call('GET', P .. 'version') or '0', call('HGETALL', P .. 'bindings'), call('HGETALL', P .. 'records'),
          call('SMEMBERS', P .. 'queues')}
        """)

    private static let changed = """
        local version = call('INCR', P .. 'version')
        call('PUBLISH', P .. 'n', me .. ' !')
        return version
        """

    /// ARGV …, trigger, binding. Answers the version of the bindings.
    static let keep = script("call('HSET', P .. 'bindings', ARGV[3], ARGV[4])\n" + changed)

    /// ARGV …, triggers.
    static let forget = script("for i = 3, #ARGV do call('HDEL', P .. 'bindings', ARGV[i]) end\n" + changed)

    /// ARGV …, queue, record or nothing, whether it is paused.
    static let configure = script(
        """
        call('SADD', P .. 'queues', ARGV[3])
        if ARGV[4] == '' then call('HDEL', P .. 'records', ARGV[3]) else call('HSET', P .. 'records', ARGV[3], ARGV[4]) end
        if ARGV[5] == '1' then call('SADD', P .. 'paused', ARGV[3]) else call('SREM', P .. 'paused', ARGV[3]) end
        call('PUBLISH', P .. 'n', me .. ' !')
        return 1
        """)

    /// ARGV …, queue.
    static let drop = script(
        """
        if call('EXISTS', base(ARGV[3]) .. 'm') == 1 then return 0 end
        call('SREM', P .. 'queues', ARGV[3])
        call('SREM', P .. 'paused', ARGV[3])
        call('HDEL', P .. 'records', ARGV[3])
        call('DEL', base(ARGV[3]) .. 's', base(ARGV[3]) .. 'hf')
        return 1
        """)

    /// ARGV …, queues. Of each: ready, claimed, behind, delayed, held, dead, age of the first that is ready (or -1).
    static let counts = script(
        """
        local all = {}
        for i = 3, #ARGV do
          local b, held, age = base(ARGV[i]), 0, -1
          for _, fn in ipairs(call('SMEMBERS', b .. 'hf')) do held = held + call('ZCARD', b .. 'h:' .. fn) end
          local first = call('ZRANGE', b .. 'r', 0, 0)[1]
          local record = first and call('HGET', b .. 'm', first)
          if record then
            local _, _, created = read(record)
            age = math.max(0, now - created)
          end
          for _, set in ipairs({'r', 'a', 'b', 'd'}) do all[#all + 1] = call('ZCARD', b .. set) end
          all[#all + 1] = held
          all[#all + 1] = call('ZCARD', b .. 'x')
          all[#all + 1] = age
        end
        return all
        """)

    /// ARGV …, queue, offset, count. Ids and scores, newest failure first.
    static let deadIndex = script(
        "return call('ZREVRANGE', base(ARGV[3]) .. 'x', ARGV[4], ARGV[4] + ARGV[5] - 1, 'WITHSCORES')")

    /// ARGV …, queue, most bytes, ids. Id, message and progress of each that is there, up to so many bytes.
    static let records = script(
        """
        local b, out, bytes = base(ARGV[3]), {}, 0
        for i = 5, #ARGV do
          if bytes >= tonumber(ARGV[4]) then break end
          local record = call('HGET', b .. 'm', ARGV[i])
          if record then
            out[#out + 1] = ARGV[i]
            out[#out + 1] = record
            out[#out + 1] = call('HGET', b .. 'p', ARGV[i]) or ''
            bytes = bytes + #record
          end
        end
        return out
        """)

    /// ARGV …, queue, score after which to begin, score up to which to go (or empty: what is dead now), count. The end, then id, score, function and
    /// progress of each, oldest failure first.
    static let deadScan = script(
        """
        local b = base(ARGV[3])
        local last = ARGV[5] ~= '' and ARGV[5] or call('GET', b .. 's') or '0'
        local out = {last}
        local found = call('ZRANGEBYSCORE', b .. 'x', '(' .. ARGV[4], last, 'WITHSCORES', 'LIMIT', 0, ARGV[6])
        for i = 1, #found, 2 do
          local record = call('HGET', b .. 'm', found[i])
          out[#out + 1] = found[i]
          out[#out + 1] = found[i + 1]
          local _, _, _, fn = read(record or '0 0 0 0 0 0 ')
          out[#out + 1] = fn
          out[#out + 1] = call('HGET', b .. 'p', found[i]) or ''
        end
        return out
        """)

    /// ARGV …, queue, how many were chosen before, how many each second (or 0), ids. How many were moved, and the time until the first is due.
    static let redrive = script(
        """
        local queue, chosen, rate, moved, wait = ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]), 0, -1
        local b = base(queue)
        for i = 6, #ARGV do
          local id = ARGV[i]
          local record = call('HGET', b .. 'm', id)
          if record and call('ZREM', b .. 'x', id) == 1 then
            local _, _, created, fn, group, key, rest = read(record)
            local pause = rate > 0 and math.floor((chosen + moved) * 1000 / rate) or 0
            local due, score = pause > 0 and now + pause or 0, nextScore(b)
            moved = moved + 1
            call('HDEL', b .. 'p', id)
            call('HSET', b .. 'm', id, write(score, due, created, fn, group, key, string.sub(record, rest)))
            if group ~= '' and call('RPUSH', b .. 'g:' .. group, id) > 1 then
              call('ZADD', b .. 'b', text(score), id)
            else
              place(b, id, text(score), due)
              fed[queue] = true
              if due > 0 and (wait < 0 or pause < wait) then wait = pause end
            end
          end
        end
        tell()
        return {moved, wait}
        """)

    /// ARGV …, queue, ids.
    static let discard = script(
        """
        local b, count = base(ARGV[3]), 0
        for i = 4, #ARGV do
          if call('ZREM', b .. 'x', ARGV[i]) == 1 then
            remove(b, ARGV[i])
            count = count + 1
          end
        end
        return count
        """)

    /// ARGV …, queue, set (`r`, `b`, `d`, `x`, or `h`), count.
    static let purge = script(
        """
        local queue, kind, limit, count = ARGV[3], ARGV[4], tonumber(ARGV[5]), 0
        local b, sets = base(queue), {base(queue) .. kind}
        if kind == 'h' then
          sets = {}
          for _, fn in ipairs(call('SMEMBERS', b .. 'hf')) do sets[#sets + 1] = b .. 'h:' .. fn end
        end
        for _, set in ipairs(sets) do
          for _, id in ipairs(call('ZRANGE', set, 0, limit - count - 1)) do
            call('ZREM', set, id)
            local group = remove(b, id)
            if kind ~= 'x' then advance(queue, b, group, id) end
            count = count + 1
          end
          if count >= limit then break end
        end
        tell()
        return count
        """)

    /// ARGV …, id, queues.
    static let cancel = script(
        """
        local id = ARGV[3]
        for i = 4, #ARGV do
          local b = base(ARGV[i])
          if call('HEXISTS', b .. 'm', id) == 1 then
            if call('ZSCORE', b .. 'x', id) or call('ZSCORE', b .. 'a', id) then return 0 end
            for _, set in ipairs({'r', 'b', 'd'}) do call('ZREM', b .. set, id) end
            for _, fn in ipairs(call('SMEMBERS', b .. 'hf')) do call('ZREM', b .. 'h:' .. fn, id) end
            advance(ARGV[i], b, remove(b, id), id)
            tell()
            return 1
          end
        end
        return 0
        """)

    /// ARGV …, id, queues. Queue, set, time until it is due, message, progress; or `o` and the outcome.
    static let find = script(
        """
        local id = ARGV[3]
        for i = 4, #ARGV do
          local b = base(ARGV[i])
          local record = call('HGET', b .. 'm', id)
          if record then
            local set, due = 'h', 0
            for _, candidate in ipairs({'r', 'a', 'b', 'd', 'x'}) do
              local score = call('ZSCORE', b .. candidate, id)
              if score then
                set = candidate
                if candidate == 'd' then due = math.max(0, tonumber(score) - now) end
              end
            end
            return {ARGV[i], set, due, record, call('HGET', b .. 'p', id) or ''}
          end
        end
        local outcome = call('GET', P .. 'o:' .. id)
        if outcome then return {'', 'o', 0, outcome, ''} end
        return {}
        """)
}
