-- Makes the caller the leader of a paused job, which runs from now on.
-- KEYS[1] hash   as in keep.lua
-- ARGV: token, life in milliseconds, the job
-- -> whether it was paused
if redis.call('HGET', KEYS[1], 'state') ~= 'paused' then return 0 end
redis.call('HSET', KEYS[1], 'leader', ARGV[1], 'state', 'running', 'job', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
