-- Lands a flight: keeps the result for those of other processes who joined it, frees the id, wakes them; and
-- heeds what it says about the gate and its credential, a late landing's too.
-- ARGV: process, id, token, result, interval, burst, sign, after (microseconds, -1: none), the gate's pause, longest
-- and shortest, whose it was (tenant, caller, credential or empty, target), and the verdict: fingerprint (empty: none),
-- refused, question, the breaker's pause and longest
-- -> landed others own-wait refused-for | late refused-for (microseconds; -1: not refused); and last, the gate's word
local id, token, result = ARGV[2], ARGV[3], ARGV[4]
local rules = {pause = tonumber(ARGV[9]), longest = tonumber(ARGV[10]), shortest = tonumber(ARGV[11])}
local by = {tenant = ARGV[12], caller = ARGV[13], credential = ARGV[14], target = ARGV[15]}
local job = call('HMGET', job_key(id), 'token', 'gen')
local leads = job[1] == token
judge(ARGV[7], tonumber(ARGV[8]), id, token, leads, rules, by)
local refused = find(ARGV[16], ARGV[17], ARGV[18], tonumber(ARGV[19]), tonumber(ARGV[20]), by.tenant)
if not leads then return {'late', refused, gate_word()} end
local gen = job[2]
local others = call('SCARD', procs_key(id)) - call('SISMEMBER', procs_key(id), me)
if others > 0 then call('SET', q .. ':result:' .. id .. ':' .. gen, result, 'PX', RESULT_MS) end
call('SET', q .. ':done:' .. id, int(now), 'PX', RESULT_MS)
forget(id, gen)
return {'landed', others, announce(tonumber(ARGV[5]), tonumber(ARGV[6])), refused, gate_word()}
