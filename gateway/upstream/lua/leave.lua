-- The last caller of this process disconnected. Where somebody waits elsewhere the queued call is theirs now; else it
-- gives way, and the next process gets a message. ARGV: process, id, gen, unkept, interval, burst
-- -> left | behind | dropped | kept
local id, gen = ARGV[2], ARGV[3]
local job = call('HMGET', job_key(id), 'gen', 'state')
if job[1] ~= gen or job[2] ~= 'queued' or not mine(id) then return {'kept'} end
call('HSET', job_key(id), 'idle:' .. me, 1, 'unkept', ARGV[4])
if not awaited(id) then
  local word = abandon(id)
  local own = announce(tonumber(ARGV[5]), tonumber(ARGV[6]))
  if own >= 0 then wake(me, 'turn:' .. int(own)) end
  return {word}
end
call('HDEL', job_key(id), 'idle:' .. me)
call('SREM', procs_key(id), me)
call('SREM', held_key(me), id)
return {'left'}
