-- Lands a flight: keeps the result for those of other processes who joined it, frees the id, wakes them.
-- ARGV: process, id, token, result, interval, burst  -> landed others own-wait | late
local id, token, result = ARGV[2], ARGV[3], ARGV[4]
local job = call('HMGET', job_key(id), 'token', 'gen')
if job[1] ~= token then return {'late'} end
local gen = job[2]
local others = call('SCARD', procs_key(id)) - call('SISMEMBER', procs_key(id), me)
if others > 0 then call('SET', q .. ':result:' .. id .. ':' .. gen, result, 'PX', RESULT_MS) end
call('SET', q .. ':done:' .. id, '1', 'PX', RESULT_MS)
forget(id, gen)
return {'landed', others, announce(tonumber(ARGV[5]), tonumber(ARGV[6]))}
