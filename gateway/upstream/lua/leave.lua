-- The last caller of this process disconnected. Where others hold the job it is theirs now; else it falls
-- behind those that somebody waits for. ARGV: process, id, gen  -> left | behind | kept
local id, gen = ARGV[2], ARGV[3]
local job = call('HMGET', job_key(id), 'gen', 'state', 'band', 'tenant')
if job[1] ~= gen or job[2] ~= 'queued' or not mine(id) then return {'kept'} end
if call('SCARD', procs_key(id)) > 1 then
  call('SREM', procs_key(id), me)
  call('SREM', held_key(me), id)
  return {'left'}
end
if tonumber(job[3]) == 0 then
  dequeue(id)
  enqueue(id, job[4], 1)
end
return {'behind'}
