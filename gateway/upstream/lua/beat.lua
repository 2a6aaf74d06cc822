-- A sign of life; and the reaper: what the dead left running is queued again, what only they held is dropped.
-- It brings along a closing of the gate that this process learnt of without Redis.
-- ARGV: process, dead-after, longest run, attempts, interval, burst, closing, the gate's pause, longest and shortest
-- -> now, processes, queued per band, running, own-wait, the refused credentials, the gate's word
local dead_after, longest, cap = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local interval, burst = tonumber(ARGV[5]), tonumber(ARGV[6])
local closing = tonumber(ARGV[7])
local rules = {pause = tonumber(ARGV[8]), longest = tonumber(ARGV[9]), shortest = tonumber(ARGV[10])}
local live = q .. ':live'
call('ZADD', live, int(now), me)
call('PEXPIRE', live, DAY)

local function retry(id)
  local gen = call('HGET', job_key(id), 'gen')
  if not gen then return call('ZREM', q .. ':running', id) end
  local attempts = call('HINCRBY', job_key(id), 'attempts', 1)
  if call('SCARD', procs_key(id)) == 0 then return forget(id, gen) end
  if attempts < cap then
    requeue(id)
    if not awaited(id) then abandon(id) end
    return
  end
  call('SET', q .. ':result:' .. id .. ':' .. gen, 'lost', 'PX', RESULT_MS)
  if mine(id) then wake(me, 'done:' .. id .. ':' .. gen) end
  forget(id, gen)
end

local reaped = false
for _, proc in ipairs(call('ZRANGEBYSCORE', live, '-inf', int(now - dead_after))) do
  reaped = true
  call('ZREM', live, proc)
  for _, id in ipairs(call('SMEMBERS', held_key(proc))) do
    call('SREM', procs_key(id), proc)
    local job = call('HMGET', job_key(id), 'state', 'owner', 'gen')
    if job[1] == 'running' and job[2] == proc then
      retry(id)
    elseif job[1] == 'queued' and call('SCARD', procs_key(id)) == 0 then
      withdraw(id)
      forget(id, job[3])
    elseif job[1] == 'queued' and not awaited(id) then
      abandon(id)
    end
  end
  call('DEL', held_key(proc))
end
for _, id in ipairs(call('ZRANGEBYSCORE', q .. ':running', '-inf', int(now - longest))) do
  reaped = true
  retry(id)
end
if closing > 0 then close(closing, false, rules) end
if interval > 0 then tat_of(interval, burst) end
local own = -1
if reaped then own = announce(interval, burst) end
local depths = {call('ZCARD', band_key(0)), call('ZCARD', band_key(1)), call('ZCARD', band_key(2))}
return {int(now), call('ZCARD', live), depths, call('ZCARD', q .. ':running'), own, refused_list(), gate_word()}
