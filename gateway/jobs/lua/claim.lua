-- Takes the running job that has been without a leader for longest, so that no other process does for a while.
-- KEYS[1] zset   id -> until when it is led, in milliseconds
-- ARGV: lease in milliseconds
-- -> id, or nothing
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local lease = tonumber(ARGV[1])
local found = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, 1)[1]
-- No lease is longer than this one: what lies further ahead was written before the clock was set back.
if not found then found = redis.call('ZRANGEBYSCORE', KEYS[1], now + lease * 2, '+inf', 'LIMIT', 0, 1)[1] end
if found then redis.call('ZADD', KEYS[1], string.format('%.0f', now + lease), found) end
return found
