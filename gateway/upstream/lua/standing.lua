-- Where a queued call stands, whoever holds it. ARGV: process, id  -> state rank tenant band | none
local job = call('HMGET', job_key(ARGV[2]), 'state', 'band', 'member', 'tenant')
if not job[1] then return {'none'} end
if job[1] == 'running' then return {job[1], 0, job[4], job[2]} end
return {job[1], rank_of(job[2], job[3]), job[4], job[2]}
