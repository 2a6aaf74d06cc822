-- The caller leads this call and does not fly: that reply was lost, or its work broke off. The
-- call waits again. ARGV: process, id, interval, burst  -> own-wait
local id = ARGV[2]
local job = call('HMGET', job_key(id), 'state', 'owner')
if job[1] == 'running' and job[2] == me then requeue(id) end
return announce(tonumber(ARGV[3]), tonumber(ARGV[4]))
