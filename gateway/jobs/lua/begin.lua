-- Decides which process of the fleet begins a run of a warming: one, and again another where that one was silent
-- for longer than its lease.
-- KEYS[1] hash   <mark> -> since when this schedule is known (Unix seconds); <mark>:<due> -> what became of that
--                run, or, while a process begins it, until when that has to be done (milliseconds); job -> the id
--                of the last job
-- ARGV: mark, due and since when the caller knows the schedule (Unix seconds), whether due is too long ago,
--       lease and life in milliseconds
-- -> begin | missed | wait | settled, and the id of the last job
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local mark, due, since, late = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4] == '1'
local known = tonumber(redis.call('HGET', KEYS[1], mark))
if not known or since < known then
  redis.call('HSET', KEYS[1], mark, ARGV[3])
  known = since
end
redis.call('PEXPIRE', KEYS[1], ARGV[6])
if due < known then return {'settled', ''} end
local run = mark .. ':' .. ARGV[2]
local state = redis.call('HGET', KEYS[1], run)
local lease = tonumber(state)
if state and not lease then return {'settled', ''} end
-- No lease is longer than this one: what lies further ahead was written before the clock was set back.
if lease and lease > now and lease <= now + ARGV[5] then return {'wait', ''} end
if late then
  redis.call('HSET', KEYS[1], run, 'skipped')
  return {'missed', ''}
end
redis.call('HSET', KEYS[1], run, string.format('%.0f', now + ARGV[5]))
return {'begin', redis.call('HGET', KEYS[1], 'job') or ''}
