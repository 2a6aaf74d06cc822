-- An operator takes calls out of the queue: one, or all of a tenant. Running ones stay. Whoever waits for them hears the
-- result. ARGV: process, call | tenant, name, result, interval, burst
-- -> how many were taken out, own-wait; and last, the gate's word
local result, taken = ARGV[4], 0

local function cancel(id)
  local job = call('HMGET', job_key(id), 'state', 'gen')
  if job[1] ~= 'queued' then return end
  withdraw(id)
  call('SET', q .. ':result:' .. id .. ':' .. job[2], result, 'PX', RESULT_MS)
  if mine(id) then wake(me, 'done:' .. id .. ':' .. job[2]) end
  forget(id, job[2])
  taken = taken + 1
end

if ARGV[2] == 'call' then
  cancel(ARGV[3])
else
  for _, member in ipairs(call('ZRANGE', line_key(ARGV[3]), 0, -1)) do cancel(id_of(member)) end
end
return {taken, announce(tonumber(ARGV[5]), tonumber(ARGV[6])), gate_word()}
