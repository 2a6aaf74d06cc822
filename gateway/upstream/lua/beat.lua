-- A sign of life; and the reaper: what the dead left running is queued again, what only they held is dropped.
-- It brings along a closing of the gate that this process learnt of without Redis.
-- ARGV: process, dead-after, longest run, attempts, interval, burst, closing, the gate's pause, longest and shortest,
-- why it closed, mark of the encryption key, the shares of jobs and of warming
-- -> Redis's time, how far the fleet's is ahead of it, processes, queued per band, running, own-wait, the refused
-- credentials, how many targets are refused, why the gate is closed, the caller's place among the processes, the
-- terms of each that differs; and last, the gate's word
local dead_after, longest, cap = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local interval, burst = tonumber(ARGV[5]), tonumber(ARGV[6])
local closing = tonumber(ARGV[7])
local rules = {pause = tonumber(ARGV[8]), longest = tonumber(ARGV[9]), shortest = tonumber(ARGV[10])}
if math.abs(wall + skew - now) > LEAP then skew = now - wall end
call('HSET', q .. ':fleet', 'skew', int(skew), 'last', int(now))
call('PEXPIRE', q .. ':fleet', 400 * DAY) -- a short one would end at the very step that it has to show
local live = q .. ':live'
call('ZADD', live, int(now), me)
call('PEXPIRE', live, DAY)
local terms_key, own_terms = q .. ':terms', table.concat({int(interval), int(burst), ARGV[12]}, '|')
call('HSET', terms_key, me, own_terms)
call('PEXPIRE', terms_key, DAY)

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

-- What all of a fleet should have in common; where they do not, the lowest budget holds for all.
local place, others, strictest, least = 0, {}, 0, burst
for _, proc in ipairs(call('ZRANGE', live, 0, -1)) do
  if proc < me then place = place + 1 end
end
local terms = call('HGETALL', terms_key)
for i = 1, #terms, 2 do
  local theirs, most = string.match(terms[i + 1], '^(%d+)|(%d+)|')
  if not call('ZSCORE', live, terms[i]) then
    call('HDEL', terms_key, terms[i])
  else
    if terms[i + 1] ~= own_terms then others[#others + 1] = terms[i + 1] end
    if tonumber(theirs) > 0 then
      least = strictest == 0 and tonumber(most) or math.min(least, tonumber(most))
      strictest = math.max(strictest, tonumber(theirs))
    end
  end
end
call('HSET', q .. ':fleet', 'interval', int(strictest), 'burst', int(least), 'jobs', ARGV[13], 'warm', ARGV[14])
fleet[3], fleet[4], fleet[5], fleet[6] = int(strictest), int(least), ARGV[13], ARGV[14]

if closing > 0 then close(closing, false, rules, ARGV[11], {}, '') end
if strictest > 0 then tat_of(strictest, least) end
local own = -1
if reaped then own = announce(interval, burst) end
local depths = {}
for place, band in ipairs(BANDS) do depths[place] = call('ZCARD', band_key(band)) end
local running = call('ZCARD', q .. ':running')
local why = not calm() and call('HGET', gate_key, 'why') or ''
return {
  int(wall), int(skew), call('ZCARD', live), depths, running, own, refused_list(), targets_refused(), why, place,
  others, gate_word(),
}
