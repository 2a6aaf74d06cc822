-- Where a queued call stands. ARGV: process, id, gen
-- -> landed result | queued rank | running | leading (the caller itself) | gone
local id, gen = ARGV[2], ARGV[3]
local result = call('GET', q .. ':result:' .. id .. ':' .. gen)
if result then return {'landed', result} end
local job = call('HMGET', job_key(id), 'gen', 'state', 'band', 'member', 'owner', 'tenant')
if job[1] ~= gen or not mine(id) then return {'gone'} end
if job[2] == 'running' then return {job[5] == me and 'leading' or 'running'} end
-- A gate that is held by hand can keep a queued call waiting for days: it must not expire under those who wait.
if call('PTTL', job_key(id)) < DAY / 2 then
  call('PEXPIRE', job_key(id), DAY)
  call('PEXPIRE', line_key(job[6]), DAY)
  hold(me, id)
end
return {'queued', rank_of(job[3], job[4])}
