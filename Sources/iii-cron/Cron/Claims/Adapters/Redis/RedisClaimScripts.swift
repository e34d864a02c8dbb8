import IIIRedis

/// The lock store's steps, each atomic at the server and decided by its clock alone.
///
/// Keys, behind `key_prefix`: `cron_tick:<identity>:<ordinal>:<tick>` is a claim (hash: o owner, s state, a attempt, f fence);
/// `cron_run:<identity>:<ordinal>[:<tick>]` a lease, which ends by itself; `cron_open:<instance>` the claims an instance has not finished;
/// `cron_paused` what was said by hand; `cron_runs:<identity>:<ordinal>` the count of `max_runs`; `cron_fence` the last fencing token.
enum RedisClaimScripts {
    /// KEYS tick, run (of the lease that is asked for), open, paused, runs, fence, run of the job, run of the tick; ARGV owner, intent, lease kind, ttl, lease ms, maximum runs (0: none), initially paused,
    /// takes over lost, identity, member of open.
    ///
    /// A fencing token is the server's time in microseconds, or one more than the last: it goes on upwards when the server was emptied.
    static let claim = RedisScript(
        """
        local found = redis.call('HMGET', KEYS[1], 'o', 's', 'a', 'f')
        local attempt = 1
        if found[1] then
          local isOpen = found[2] == 'open'
          if found[1] == ARGV[1] then
            if isOpen and (ARGV[3] == 'takeover' or redis.call('EXISTS', KEYS[2]) == 0) then
              redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[5])
            end
            if isOpen or ARGV[2] == 'skip' then return {'granted', tonumber(found[4]), tonumber(found[3])} end
            return {'overlaps'}
          end
          if not (isOpen and ARGV[8] == '1') then return {'taken', isOpen and 1 or 0} end
          if redis.call('GET', KEYS[7]) == found[1] or redis.call('GET', KEYS[8]) == found[1] then return {'taken', 1} end
          attempt = tonumber(found[3]) + 1
        else
          local paused = redis.call('HGET', KEYS[4], ARGV[9])
          if paused == '1' or (not paused and ARGV[7] == '1') then return {'paused'} end
          if ARGV[6] ~= '0' and tonumber(redis.call('GET', KEYS[5]) or '0') >= tonumber(ARGV[6]) then
            redis.call('EXPIRE', KEYS[5], 34560000)
            return {'exhausted'}
          end
        end
        local isBusy = redis.call('EXISTS', KEYS[2]) == 1
        if ARGV[2] == 'run' and ARGV[3] == 'deferring' and isBusy then return {'overlaps'} end
        local time = redis.call('TIME')
        local fence = tonumber(time[1]) * 1000000 + tonumber(time[2])
        local last = tonumber(redis.call('GET', KEYS[6]) or '0')
        if last >= fence then fence = last + 1 end
        redis.call('SET', KEYS[6], string.format('%.0f', fence))
        local state = 'open'
        if ARGV[2] == 'skip' then state = 'skipped' end
        if state == 'open' and ARGV[3] == 'exclusive' and isBusy then state = 'overlapped' end
        redis.call('HSET', KEYS[1], 'o', ARGV[1], 's', state, 'a', attempt, 'f', string.format('%.0f', fence))
        redis.call('PEXPIRE', KEYS[1], ARGV[4])
        if state == 'overlapped' then return {'overlaps'} end
        if state == 'open' then
          redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[5])
          redis.call('SADD', KEYS[3], ARGV[10])
          redis.call('EXPIRE', KEYS[3], 34560000)
          if ARGV[6] ~= '0' and attempt == 1 then
            redis.call('INCR', KEYS[5])
            redis.call('EXPIRE', KEYS[5], 34560000)
          end
        end
        return {'granted', fence, attempt}
        """)

    /// KEYS run, tick; ARGV owner, lease ms, lease kind. 1: it has its lease, perhaps again: while the server was away for longer than that, or
    /// was emptied, it may have ended without anybody taking it. Only one that others take over stays lost.
    static let renew = RedisScript(
        """
        local holder = redis.call('GET', KEYS[1])
        if holder == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
        if holder or ARGV[3] == 'takeover' then return 0 end
        local owner = redis.call('HGET', KEYS[2], 'o')
        if owner and owner ~= ARGV[1] then return 0 end
        redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
        return 1
        """)

    /// KEYS tick, open, run of the job, run of the tick; ARGV owner, member of open.
    static let finish = RedisScript(
        """
        for i = 3, 4 do
          if redis.call('GET', KEYS[i]) == ARGV[1] then redis.call('DEL', KEYS[i]) end
        end
        if redis.call('HGET', KEYS[1], 'o') == ARGV[1] then redis.call('HSET', KEYS[1], 's', 'done') end
        redis.call('SREM', KEYS[2], ARGV[2])
        return 1
        """)

    /// KEYS open, run of the job, run of the tick; ARGV owner, member of open: the leases of a run whose process is gone.
    static let leave = RedisScript(
        """
        for i = 2, 3 do
          if redis.call('GET', KEYS[i]) == ARGV[1] then redis.call('DEL', KEYS[i]) end
        end
        redis.call('SREM', KEYS[1], ARGV[2])
        return 1
        """)
}
