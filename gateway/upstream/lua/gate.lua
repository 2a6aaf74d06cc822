-- The fleet's gate: closed while the service seems to block us; the same rules as gate.py.
--
--   :gate   hash   until; level (blocks in a row); probe, token (the probing flight); longest, shortest (bounds of a
--                  pause, in microseconds); resets (connections broken off in a row, also while it is open);
--                  held (since when somebody keeps it closed by hand; the key then has no TTL)
--
-- No `until`: open. `until` ahead: closed. `until` past: half open, one flight may probe; a probe whose job
-- is no longer run under the token it set out with is lost, and another may go. `held`: closed, and no probe
-- goes, until somebody resumes; signs are still heeded, but for opening and expiry.
local RESETS = 3
local STEEPEST = 30
local HELD = 60000000
local gate_key = q .. ':gate'

-- Microseconds for which nothing may set out by the signs (0 where the gate is open, or half open without a
-- probe); what it is by them; and since when it is held.
local function gate_state()
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
  if call('HEXISTS', gate_key, 'until') == 1 then call('HSET', gate_key, 'probe', id, 'token', token) end
end

-- Whoever set out before it closed extends the pause, but the pause does not grow with each of them.
local function close(after, probe, rules)
  local gate = call('HMGET', gate_key, 'until', 'level')
  local level = tonumber(gate[2]) or 0
  if probe or not gate[1] then level = level + 1 end
  local pause = after
  if after < 0 then pause = rules.pause * 2 ^ math.min(math.max(level, 1) - 1, STEEPEST) end
  pause = math.min(math.max(pause, rules.shortest), rules.longest)
  local till = math.max(tonumber(gate[1]) or 0, now + pause)
  call('HSET', gate_key, 'until', int(till), 'level', level, 'longest', rules.longest, 'shortest', rules.shortest)
  call('HDEL', gate_key, 'probe', 'token')
  expire_gate((till - now) / 1000 + DAY)
  news('gate:' .. int(gate_word()))
end

-- What a landing says about the gate; `leads` where it is the landing of whoever leads the flight now.
local function judge(sign, after, id, token, leads, rules)
  if sign == 'nothing' then return end
  local gate = call('HMGET', gate_key, 'until', 'probe', 'token', 'resets')
  local probe = leads and gate[2] == id and gate[3] == token
  if sign == 'reset' and leads then
    if call('HINCRBY', gate_key, 'resets', 1) >= RESETS then return close(-1, probe, rules) end
    if not gate[1] then expire_gate(DAY) end
    return
  end
  if sign ~= 'reset' and gate[4] then call('HDEL', gate_key, 'resets') end
  if sign == 'blocked' then return close(after, probe, rules) end
  if sign == 'answered' and probe then
    call('DEL', gate_key)
    news('gate:0')
  end
end

-- By hand: closed until resumed. A probe that is out opens nothing any more.
local function hold_gate()
  call('HSETNX', gate_key, 'held', int(now))
  call('HDEL', gate_key, 'probe', 'token')
  call('PERSIST', gate_key)
  news('gate:-1')
end

local function resume_gate()
  call('DEL', gate_key)
  news('gate:0')
end
