-- Now, for a mark: the fleet's own time. That is Redis's clock and the skew that the caller knows; or where this is far
-- from the caller's own time, since the clock has stepped meanwhile, that. No two marks have the same. KEYS[1] the marks,
-- whose field '#' is the last one. ARGV[5] the skew, ARGV[6] the caller's own time, in microseconds.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2] + ARGV[5]
if math.abs(now - ARGV[6]) > 1500000 then now = tonumber(ARGV[6]) end
now = math.max(now, (tonumber(redis.call('HGET', KEYS[1], '#')) or 0) + 1)
