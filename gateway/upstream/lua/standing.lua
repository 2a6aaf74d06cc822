-- Where a job stands, whoever holds it. ARGV: process, id  -> state rank tenant band | none
local job = call('HMGET', job_key(ARGV[2]), 'state', 'band', 'member', 'tenant')
if not job[1] then return {'none'} end
if job[1] == 'running' then return {job[1], 0, job[4], job[2]} end
local rank = call('ZRANK', band_key(job[2]), job[3]) or 0
for band = 0, tonumber(job[2]) - 1 do rank = rank + call('ZCARD', band_key(band)) end
return {job[1], rank, job[4], job[2]}
