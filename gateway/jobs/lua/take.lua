-- Makes the caller the leader of a running job; whoever led it before can write no more.
-- KEYS[1] hash   as in keep.lua
-- ARGV: token, life in milliseconds
-- -> whether it does
if redis.call('HGET', KEYS[1], 'state') ~= 'running' then return 0 end
redis.call('HSET', KEYS[1], 'leader', ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
