-- Ends a job that runs or pauses; what it keeps stays. One that has ended is forgotten.
-- KEYS[1] hash   as in keep.lua
-- -> whether it ran or paused
local state = redis.call('HGET', KEYS[1], 'state')
if state == 'running' or state == 'paused' then
  redis.call('HSET', KEYS[1], 'state', 'cancelled', 'leader', '')
  return 1
end
redis.call('DEL', KEYS[1])
return 0
