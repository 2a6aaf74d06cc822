-- Ends a job that runs or pauses; what it keeps stays. One that has ended is forgotten where that is wanted, but for
-- a while not that it has no leader, so that a former one that has not noticed its end does not write it anew.
-- KEYS[1] hash   as in keep.lua
-- ARGV: how long that while is, in milliseconds; 1 to forget one that has ended, else 0
-- -> whether it ran or paused
local state = redis.call('HGET', KEYS[1], 'state')
if state == 'running' or state == 'paused' then
  redis.call('HSET', KEYS[1], 'state', 'cancelled', 'leader', '')
  return 1
end
if ARGV[2] == '0' then return 0 end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'leader', '')
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 0
