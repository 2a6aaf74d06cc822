-- The fleet's gate: closed while the service seems to block us; the same rules as gate.py.
--
--   :gate   hash   until, pause (how long it was closed for); level (blocks in a row); probe, token (the probing
--                  flight); longest, shortest (bounds of a pause, in microseconds); why (the last sign), by (the
--                  tenants whose evidence closed it, with | between), alone (the one, while it is one), query (the
--                  job that closed it); held (since when somebody keeps it closed by hand; the key then has no TTL)
--
-- No `until`: open. `until` ahead: closed. `until` past: half open, one flight may probe; a probe whose job
-- is no longer run under the token it set out with is lost, and another may go. `held`: closed, and no probe
-- goes, until somebody resumes; signs are still heeded, but for opening and expiry.
local DEPTH = 64
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

-- What processes are told of the gate: its wait, or -1 while it is held.
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

local function listed(names, name)
  return names ~= '' and string.find('|' .. names .. '|', '|' .. name .. '|', 1, true) ~= nil
end

-- Whether this tenant's query may find out whether a block is over. Whoever brought it about leaves that to the
-- others who are active, for as long again as the pause was.
local function may_probe(tenant)
  if calm() then return true end
  local gate = call('HMGET', gate_key, 'until', 'by', 'pause')
  local by = gate[2] or ''
  if not gate[1] or not listed(by, tenant) then return true end
  if now >= tonumber(gate[1]) + (tonumber(gate[3]) or 0) then return true end
  for _, other in ipairs(recent(tenants_key)) do
    if not listed(by, other) then return false end
  end
  return true
end

-- A tenant comes to a gate that was closed on another's evidence alone: with two active, that is not enough, and
-- neither is what the other's probe may find.
local function contest(tenant)
  if calm() then return end
  local gate = call('HMGET', gate_key, 'until', 'alone')
  if not gate[2] or gate[2] == tenant then return end
  call('HDEL', gate_key, 'alone', 'probe', 'token')
  if tonumber(gate[1]) > now then call('HSET', gate_key, 'until', int(now)) end
  news('gate:' .. int(gate_word()))
end

-- The job whose turn is next: the first in the order of rank. Through a half-open gate it is one of those who did
-- not close it, then any but the very query that did.
local function head()
  local gate = calm() and {} or call('HMGET', gate_key, 'until', 'by', 'query')
  if not gate[1] or tonumber(gate[1]) > now then return first(1, function() return true end) end
  local function tenant_of(id) return call('HGET', job_key(id), 'tenant') or '' end
  local function another(id) return id ~= gate[3] end
  return first(DEPTH, function(id) return another(id) and not listed(gate[2] or '', tenant_of(id)) end)
    or first(DEPTH, function(id) return another(id) and may_probe(tenant_of(id)) end)
    or first(DEPTH, function(id) return may_probe(tenant_of(id)) end)
end

-- Closes for `after` microseconds (-1: as long as the pause grew) by these tenants' evidence. Whoever set out before
-- it closed extends the pause, but the pause does not grow with each of them; nor with one tenant's probes, while
-- there are others to probe.
local function close(after, probe, rules, why, tenants, id)
  troubled = true
  local gate = call('HMGET', gate_key, 'until', 'level', 'by', 'alone')
  local level, by = tonumber(gate[2]) or 0, table.concat(tenants, '|')
  if not gate[1] or (probe and (not listed(gate[3] or '', by) or alone(by))) then level = level + 1 end
  local till = math.max(tonumber(gate[1]) or 0, now + pause_for(math.max(level, 1), after, rules))
  call('HSET', gate_key, 'until', int(till), 'pause', int(till - now), 'level', level, 'longest', rules.longest,
    'shortest', rules.shortest, 'why', why, 'by', by, 'query', id)
  if #tenants == 1 and (not gate[1] or gate[4] == by) then
    call('HSET', gate_key, 'alone', by)
  else
    call('HDEL', gate_key, 'alone')
  end
  call('HDEL', gate_key, 'probe', 'token')
  expire_gate((till - now) / 1000 + DAY)
  news('gate:' .. int(gate_word()))
  if not gate[1] then news('closed:' .. why .. ':' .. targets_refused()) end
end

local function open_gate()
  call('DEL', gate_key)
  forget_refusals()
  news('gate:0')
end

-- What a landing says about the gate; `leads` where it is the landing of whoever leads the flight now; `by` the
-- tenant, caller, credential and target of its query.
local function judge(sign, after, id, token, leads, rules, by)
  if sign == 'nothing' or (sign == 'reset' and not leads) then return end
  if (sign == 'answered' or sign == 'failed') and calm() then return end
  local gate = call('HMGET', gate_key, 'probe', 'token')
  local probe = leads and gate[1] == id and gate[2] == token
  if sign == 'answered' or sign == 'failed' then
    heard_from(by, sign == 'answered')
    if sign == 'answered' and probe then open_gate() end
    return
  end
  local tenants, longest = testify(sign, after, by, rules)
  if tenants then return close(longest, probe, rules, sign, tenants, id) end
  if probe and sign ~= 'reset' then close(after, probe, rules, sign, {by.tenant}, id) end
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
  call('DEL', paused_key('bearer'), pauses_key('bearer'))
end
