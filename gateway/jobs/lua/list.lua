-- Lists a job among those of all tenants; the oldest give way where there are too many.
-- KEYS[1] zset   id -> when it was ordered, in milliseconds
-- ARGV: id, life in milliseconds, most that are listed
local time = redis.call('TIME')
redis.call('ZADD', KEYS[1], string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000)), ARGV[1])
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -(tonumber(ARGV[3]) + 1))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
