-- Keeps a job led for a while longer; with a lease of nothing, whoever comes first may lead it.
-- KEYS[1] zset   as in claim.lua
-- ARGV: id, lease in milliseconds, life in milliseconds
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[1], string.format('%.0f', now + ARGV[2]), ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
