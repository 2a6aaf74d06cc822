-- The fleet's gate: closed while the service seems to block us; the same rules as upstream_breaker.py.
--
--   :gate   hash   until, pause (how long it was closed for); level (blocks in a row); probe, token (the probing
--                  flight); longest, shortest (bounds of a pause, in microseconds); why (the last sign), by (the
--                  callers whose evidence closed it, with | between), alone (the tenant on whose word alone that is,
--                  while it is), query (the call that closed it); held (since when somebody
--                  keeps it closed by hand; the key then has no TTL)
--
-- No `until`: open. `until` ahead: closed. `until` past: half open, one flight may probe; a probe whose queued call
-- is no longer run under the token it set out with is lost, and another may go. `held`: closed, and no probe
-- goes, until somebody resumes; signs are still heeded, but for opening and expiry.
local HELD = 60000000

-- Microseconds for which nothing may set out by the signs (0 where the gate is open, or half open without a
-- probe); what it is by them; and since when it is held.
local function gate_state()
  if calm() then return 0, 'open' end
  local gate = call('HMGET', gate_key, 'until', 'probe', 'token', 'longest', 'shortest', 'held')
  local till = tonumber(gate[1])
  if not till then return 0, 'open', gate[6] end
  if till > now then return math.min(till - now, tonumber(gate[4])), 'closed', gate[6] end
  local probing = gate[2] and call('HGET', job_key(gate[2]), 'token') == gate[3]
  return probing and tonumber(gate[5]) or 0, 'half-open', gate[6]
end

-- Microseconds for which nothing may set out; while held nobody knows, so that is a time to ask again.
local function gate_wait()
  local wait, _, held = gate_state()
  return held and HELD or wait
end

-- What processes learn of the gate: its wait, or -1 while it is held.
local function gate_word()
  local wait, _, held = gate_state()
  return held and -1 or wait
end

local function expire_gate(ms)
  if call('HEXISTS', gate_key, 'held') == 0 then call('PEXPIRE', gate_key, int(ms)) end
end

-- A flight sets out through the gate: through a half-open one it is the probe.
local function pass(id, token)
  if calm() then return end
  if call('HEXISTS', gate_key, 'until') == 1 then call('HSET', gate_key, 'probe', id, 'token', token) end
end

-- Whether anybody asks of late but these callers.
local function others_than(by)
  for _, other in ipairs(recent(callers_key)) do
    if not listed(by, other) then return true end
  end
  return false
end

local function caller_of(id)
  local job = call('HMGET', job_key(id), 'caller', 'tenant')
  return job[1] or job[2] or ''
end

-- Whether this caller's query may find out whether a block is over. Whoever brought it about leaves that to the
-- others who are active, for as long again as the pause was.
local function may_probe(caller)
  if calm() then return true end
  local gate = call('HMGET', gate_key, 'until', 'by', 'pause')
  local by = gate[2] or ''
  if not gate[1] or not listed(by, caller) then return true end
  if now >= tonumber(gate[1]) + (tonumber(gate[3]) or 0) then return true end
  return not others_than(by)
end

-- Somebody comes to a gate that was closed on one tenant's word alone, and did not bring that about: with two active,
-- that is not enough, and neither is what another's probe may find.
local function contest(caller)
  if calm() then return end
  local gate = call('HMGET', gate_key, 'until', 'alone', 'by')
  if not gate[2] or listed(gate[3] or '', caller) then return end
  call('HDEL', gate_key, 'probe', 'token')
  if tonumber(gate[1]) > now then call('HSET', gate_key, 'until', int(now)) end
  news('gate:' .. int(gate_word()))
end

-- The one tenant on whose word all this rests; nil where two independent ones say so.
local function sole_witness(tenants)
  local witness
  for _, tenant in ipairs(tenants) do
    if witness and independent(witness, tenant) then return nil end
    if not witness or witness == ANONYMOUS then witness = tenant end
  end
  return witness
end

-- These names and those, the latest MOST_ACTIVE.
local function joined(names, more)
  local list = {}
  for name in string.gmatch(names, '[^|]+') do
    if not listed(more, name) then list[#list + 1] = name end
  end
  for name in string.gmatch(more, '[^|]+') do list[#list + 1] = name end
  while #list > MOST_ACTIVE do table.remove(list, 1) end
  return table.concat(list, '|')
end

-- Closes for `after` microseconds (-1: as long as the pause grew) by the evidence of these (tenant -> caller). Whoever
-- set out before it closed extends the pause, but the pause does not grow with each of them. While there are others
-- to probe, it grows only with the probe of a tenant's caller who had no part in it, and where two tenants say so.
local function close(after, probe, rules, why, closers, id)
  troubled = true
  local gate = call('HMGET', gate_key, 'until', 'level', 'by', 'alone')
  local level, before, opened = tonumber(gate[2]) or 0, gate[3] or '', not gate[1]
  local tenants, callers, news_of_it = {gate[4] or nil}, {}, false
  for tenant, caller in pairs(closers) do
    tenants[#tenants + 1], callers[#callers + 1] = tenant, caller
    news_of_it = news_of_it or (tenant ~= ANONYMOUS and not listed(before, caller))
  end
  local witness = (opened or gate[4]) and sole_witness(tenants)
  local by = joined(before, table.concat(callers, '|'))
  if opened or (probe and ((news_of_it and not witness) or not others_than(by))) then level = level + 1 end
  local till = math.max(tonumber(gate[1]) or 0, now + pause_for(math.max(level, 1), after, rules))
  call('HSET', gate_key, 'until', int(till), 'pause', int(till - now), 'level', level, 'longest', rules.longest,
    'shortest', rules.shortest, 'why', why, 'by', by, 'query', id)
  if witness then call('HSET', gate_key, 'alone', witness) else call('HDEL', gate_key, 'alone') end
  call('HDEL', gate_key, 'probe', 'token')
  expire_gate((till - now) / 1000 + DAY)
  news('gate:' .. int(gate_word()))
  if opened then news('closed:' .. why .. ':' .. targets_refused()) end
end

local function open_gate()
  local by = call('HGET', gate_key, 'by') or ''
  call('DEL', gate_key)
  forget_refusals(by)
  news('gate:0')
end

-- What a landing says about the gate: an answer to its probe opens it, and where it is closed on one tenant's word
-- alone, one to anybody who had no part in that; `leads` where it is the landing of whoever leads the flight now; `by` the
-- tenant, caller, credential and target of its query.
local function judge(sign, after, id, token, leads, rules, by)
  if sign == 'nothing' or (sign == 'reset' and not leads) then return end
  if (sign == 'answered' or sign == 'failed') and calm() then return end
  local gate = call('HMGET', gate_key, 'probe', 'token', 'alone', 'by', 'held')
  local probe = leads and gate[1] == id and gate[2] == token
  if sign == 'answered' or sign == 'failed' then
    heard_from(by, sign == 'answered')
    local refuted = gate[3] and not gate[5] and not listed(gate[4] or '', by.caller)
    if sign == 'answered' and (probe or refuted) then open_gate() end
    return
  end
  local closers, longest = testify(sign, after, by, rules)
  if closers then return close(longest, probe, rules, sign, closers, id) end
  if probe and sign ~= 'reset' then close(after, probe, rules, sign, {[by.tenant] = by.caller}, id) end
end

-- By hand: closed until resumed. A probe that is out opens nothing any more.
local function hold_gate()
  troubled = true
  call('HSETNX', gate_key, 'held', int(now))
  call('HDEL', gate_key, 'probe', 'token')
  call('PERSIST', gate_key)
  news('gate:-1')
end

local function resume_gate()
  open_gate()
  for _, kind in ipairs({'target', 'caller', 'bearer'}) do call('DEL', paused_key(kind), pauses_key(kind)) end
end
