-- Submits a job, or joins the one of this id; claims it at once where it is next and the budget allows.
-- ARGV: process, id, tenant, band, token, rechecked, interval, burst, max, max per tenant, cost
-- -> claimed id gen token tat own-wait | queued gen own-wait | running gen | recheck | full jobs-ahead | closed
-- and last, the gate's word
local id, tenant, band, token, rechecked = ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5], ARGV[6]
local interval, burst, max, max_tenant = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10])

local job = call('HMGET', job_key(id), 'state', 'band', 'gen', 'owner', 'token')
if job[1] then
  hold(me, id)
  if job[1] == 'running' and job[4] == me and job[5] == token then
    -- The reply to this very submission was lost, and nobody flies.
    requeue(id)
    job[1], job[2] = 'queued', band
  end
  if job[1] == 'running' then return {'running', job[3], gate_word()} end
  if band < tonumber(job[2]) then
    dequeue(id)
    call('HSET', job_key(id), 'cost', ARGV[11])
    enqueue(id, tenant, band)
  end
  if head() == id and turn_wait(interval, burst) == 0 then return dispatch(id, token, interval, burst) end
  return {'queued', job[3], announce(interval, burst), gate_word()}
end

-- A flight of this id landed between the caller's look-up and now: its entry may be in the cache, and to ask
-- again would be the second call for one answer. The caller looks once more and comes back with `rechecked`.
if rechecked == '0' and call('EXISTS', q .. ':done:' .. id) == 1 then return {'recheck', gate_word()} end

if gate_wait() > 0 then return {'closed', gate_word()} end

local ahead = queued()
if band == 2 and ahead * 2 >= max then return {'full', ahead, 0} end
local pending = tonumber(call('HGET', q .. ':pending', tenant)) or 0
if pending >= max_tenant then return {'full', pending, 0} end
if ahead >= max then
  -- People before refreshes and before jobs whose callers left: the last of those makes room.
  local last = call('ZREVRANGE', band_key(2), 0, 0)[1] or call('ZREVRANGE', band_key(1), 0, 0)[1]
  if not last then return {'full', ahead, 0} end
  local victim = string.sub(last, 14)
  dequeue(victim)
  local gen = call('HGET', job_key(victim), 'gen')
  call('SET', q .. ':result:' .. victim .. ':' .. gen, 'dropped', 'PX', RESULT_MS)
  if mine(victim) then wake(me, 'done:' .. victim .. ':' .. gen) end
  forget(victim, gen)
end

local gen = int(now)
call('HSET', job_key(id), 'tenant', tenant, 'band', band, 'cost', ARGV[11], 'gen', gen, 'attempts', 0)
call('PEXPIRE', job_key(id), DAY)
hold(me, id)
local free = turn_wait(interval, burst) == 0
if free and ahead == 0 then return lead(id, gen, token, interval, burst) end
enqueue(id, tenant, band)
if free and head() == id then return dispatch(id, token, interval, burst) end
return {'queued', gen, announce(interval, burst), gate_word()}
