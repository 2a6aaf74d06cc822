-- Submits a queued call, or joins the one of this id; claims it at once where it is next and the budget allows.
-- ARGV: process, id, tenant, band, token, rechecked, interval, burst, max, max per tenant, cost, unkept, target,
-- caller, credential (empty: none), the gate's pause, longest and shortest, and of other tenants who wait for it
-- there: tenant, cost, …
-- -> claimed id gen token tat own-wait | queued gen own-wait | running gen | recheck | full calls-ahead
-- | paused kind microseconds | closed microseconds; and last, the gate's word
local id, tenant, band, token, rechecked = ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5], ARGV[6]
local interval, burst, max, max_tenant = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10])
local cost, unkept = tonumber(ARGV[11]), ARGV[12]
local target, caller, credential = ARGV[13], ARGV[14], ARGV[15]

local function note_others(payer)
  for i = 19, #ARGV, 2 do note(id, payer, ARGV[i], ARGV[i + 1]) end
end

local function goes(id)
  local next_id, next_band = head(interval, burst)
  return next_id == id and turn_wait(next_band, interval, burst) == 0
end

local job = call('HMGET', job_key(id), 'state', 'band', 'gen', 'owner', 'token', 'tenant')
if job[1] then
  hold(me, id)
  if job[1] == 'running' and job[4] == me and job[5] == token then
    -- The reply to this very submission was lost, and nobody flies.
    requeue(id)
    job[1], job[2] = 'queued', band
  end
  if band == PEOPLE then call('HDEL', job_key(id), 'idle:' .. me) else call('HSET', job_key(id), 'idle:' .. me, 1) end
  if job[1] == 'running' then return {'running', job[3], gate_word()} end
  if band < tonumber(job[2]) then
    withdraw(id)
    call('HSET', job_key(id), 'cost', cost, 'caller', caller)
    enqueue(id, tenant, band)
    job[6] = tenant
  end
  note(id, job[6], tenant, cost)
  note_others(job[6])
  if goes(id) then return dispatch(id, token, interval, burst) end
  return {'queued', job[3], announce(interval, burst), gate_word()}
end

-- A flight of this id landed between the caller's look-up and now: its entry may be in the cache, and to ask
-- again would be the second call for one answer. The caller looks once more and comes back with `rechecked`.
if rechecked == '0' and landed_lately(id) then return {'recheck', gate_word()} end

asks(tenant, caller, credential)
local kind, left = paused(target, caller, credential)
if not kind then contest(caller) end
local closed = gate_wait()
if closed == 0 and kind == 'caller' and may_try(caller, target, tonumber(ARGV[16])) then kind = nil end
if closed == 0 and kind then return {'paused', kind, int(left), gate_word()} end
if closed > 0 or not may_probe(caller) then
  return {'closed', int(math.max(closed, tonumber(ARGV[18]))), gate_word()}
end

local ahead = queued()
if CAPACITY[band] < 1 and ahead >= max * CAPACITY[band] then return {'full', ahead, 0} end
local pending = tonumber(call('HGET', q .. ':pending', tenant)) or 0
if pending >= max_tenant and not own_room(tenant, band) then return {'full', ahead_of(tenant), 0} end
if queued() >= max and not make_room(band, pending, cost) then return {'full', ahead_of(tenant), 0} end

local gen = int(wall) -- of all clocks the one that never stands still
call('HSET', job_key(id), 'tenant', tenant, 'band', band, 'cost', cost, 'gen', gen, 'attempts', 0, 'unkept', unkept)
if caller ~= tenant then call('HSET', job_key(id), 'caller', caller) end
if credential ~= '' then call('HSET', job_key(id), 'credential', credential) end
if band > PEOPLE then call('HSET', job_key(id), 'idle:' .. me, 1) end
note_others(tenant)
call('PEXPIRE', job_key(id), DAY)
hold(me, id)
if ahead == 0 and turn_wait(band, interval, burst) == 0 then return lead(id, gen, token, band, interval, burst) end
enqueue(id, tenant, band)
if goes(id) then return dispatch(id, token, interval, burst) end
return {'queued', gen, announce(interval, burst), gate_word()}
