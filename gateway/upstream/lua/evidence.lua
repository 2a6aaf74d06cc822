-- Evidence: what a refusal says of its target, of whoever asked, of the credential, and last of the service itself;
-- the same rules as upstream_breaker.py.
--
--   :paused:<kind>   zset   name -> until when nothing is asked: of a target, for a caller, or by a bearer (a
--                           credential, or a caller without one, that the service asked to slow down)
--   :pauses:<kind>   hash   name -> "level length tenant|caller": refusals in a row, the pause's length, who met it last
--   :evidence        hash   tenant -> how many of its targets were newly refused since the last answer
--   :provokers       hash   tenant -> its caller who met the last of them
--   :callers, :credentials   zset   who asked, and with what, during the last minutes -> when last
--   :users:<fingerprint>     zset   the tenants who asked with a credential, likewise
local ENOUGH = 3
local TOLERATED = 2
local MOST_PAUSED = 1000
local MEMORY = 3600000000
local ACTIVE = 600000000
local MOST_ACTIVE = 16
local STEEPEST = 30
local WALKED = 5000
local ANONYMOUS = 'anonymous'
local gate_key, evidence_key, provokers_key = q .. ':gate', q .. ':evidence', q .. ':provokers'
local callers_key, credentials_key = q .. ':callers', q .. ':credentials'
local function users_key(name) return q .. ':users:' .. name end
local function paused_key(kind) return q .. ':paused:' .. kind end
local function pauses_key(kind) return q .. ':pauses:' .. kind end

-- Whether nothing was refused of late and the gate is open, as nearly always: one command says so for all that
-- follows. Whoever changes that sets `troubled`.
local troubled
local function calm()
  if troubled == nil then
    local kept = {gate_key, evidence_key, paused_key('target'), paused_key('caller'), paused_key('bearer')}
    troubled = call('EXISTS', unpack(kept)) > 0
  end
  return not troubled
end

-- The pause after the `level`-th refusal in a row, `after` microseconds where the service said so (-1: it did not).
local function pause_for(level, after, rules)
  if after < 0 then after = rules.pause * 2 ^ math.min(level - 1, STEEPEST) end
  return math.min(math.max(after, rules.shortest), rules.longest)
end

local function pause_of(kind, name)
  local kept = call('HGET', pauses_key(kind), name) or ''
  local level, length, tenant, caller = string.match(kept, '^(%d+) (%d+) ([^|]*)|?(.*)$')
  if caller == '' then caller = tenant end -- an older version notes none
  return tonumber(level) or 0, tonumber(length) or 0, tenant, caller
end

-- Microseconds left of a pause, 0 once it is over; nil where nothing was refused of late. None lasts longer than it
-- was meant to: where the clock went back, its end does too.
local function left_of(kind, name)
  local till = tonumber(call('ZSCORE', paused_key(kind), name))
  if not till or till < now - MEMORY then return nil end
  if till <= now then return 0 end
  local _, length = pause_of(kind, name)
  if till - now > length then
    call('ZADD', paused_key(kind), int(now + length), name)
    return length
  end
  return till - now
end

local function end_pause(kind, name)
  if call('ZREM', paused_key(kind), name) == 1 then call('HDEL', pauses_key(kind), name) end
end

local function trim(kind)
  local old = call('ZRANGEBYSCORE', paused_key(kind), '-inf', int(now - MEMORY), 'LIMIT', 0, 100)
  for _, name in ipairs(old) do end_pause(kind, name) end
  local over = call('ZCARD', paused_key(kind)) - MOST_PAUSED
  if over <= 0 then return end
  for _, name in ipairs(call('ZRANGE', paused_key(kind), 0, over - 1)) do end_pause(kind, name) end
end

-- Answers whether it is news, and the pause's length; the first `free` refusals cost none. Those who asked before a
-- pause began do not make it grow.
local function begin_pause(kind, name, by, after, free, rules)
  local left = left_of(kind, name)
  local level = left and pause_of(kind, name) or 0
  if not left or left == 0 then level = level + 1 end
  local length = level > free and pause_for(level - free, after, rules) or 0
  length = math.max(length, left or 0)
  troubled = true
  call('ZADD', paused_key(kind), int(now + length), name)
  call('HSET', pauses_key(kind), name, int(level) .. ' ' .. int(length) .. ' ' .. by.tenant .. '|' .. by.caller)
  local kept = math.max((MEMORY + length) / 1000, call('PTTL', paused_key(kind)))
  call('PEXPIRE', paused_key(kind), int(kept))
  call('PEXPIRE', pauses_key(kind), int(kept))
  if not left then trim(kind) end
  return not left, length
end

-- Who has to slow down after a 429.
local function bearer_of(credential, caller)
  return credential ~= '' and credential or 'caller:' .. caller
end

-- Why a new call may not be queued, and for how many microseconds; nil where it may.
local function paused(target, caller, credential)
  if calm() then return nil end
  local asked = {target = target, bearer = bearer_of(credential, caller), caller = caller}
  for _, kind in ipairs({'target', 'bearer', 'caller'}) do
    local left = left_of(kind, asked[kind]) or 0
    if left > 0 then return kind, left end
  end
end

-- Whether a caller's pause lets this through: one target in as long as a first pause takes, that was never refused,
-- so that who met refused ones by chance is not stopped for long. The pause's length is kept as if it began then.
local function may_try(caller, target, interval)
  local left = left_of('caller', caller)
  local level, length, tenant = pause_of('caller', caller)
  if not left or length - left < interval or left_of('target', target) then return false end
  call('HSET', pauses_key('caller'), caller, int(level) .. ' ' .. int(left) .. ' ' .. tenant .. '|' .. caller)
  return true
end

local function mark(key, name)
  if name == '' or call('ZADD', key, int(now), name) == 0 then return end
  call('ZREMRANGEBYRANK', key, 0, -MOST_ACTIVE - 1)
  call('PEXPIRE', key, DAY)
end

local function asks(tenant, caller, credential)
  mark(callers_key, caller)
  mark(credentials_key, credential)
  if credential ~= '' then mark(users_key(credential), tenant) end
end

-- Who asked during the last minutes; a time ahead of the clock becomes now.
local function recent(key)
  local list, found = call('ZRANGE', key, 0, -1, 'WITHSCORES'), {}
  for i = 1, #list, 2 do
    local at = tonumber(list[i + 1])
    if at > now then call('ZADD', key, int(now), list[i]) end
    if at > now - ACTIVE then found[#found + 1] = list[i] end
  end
  return found
end

local function alone_in(key, name)
  for _, other in ipairs(recent(key)) do
    if other ~= name then return false end
  end
  return true
end

local function alone(caller) return alone_in(callers_key, caller) end

-- Whether two tenants are witnesses of their own: whoever has a key may ask without it too.
local function independent(one, other) return one ~= other and one ~= ANONYMOUS and other ~= ANONYMOUS end

local function listed(names, name)
  return names ~= '' and string.find('|' .. names .. '|', '|' .. name .. '|', 1, true) ~= nil
end

-- What waits for its turn to be asked with this credential does not wait in vain for the end of its pause.
local function turn_away(credential, length)
  local walked = 0
  for _, band in ipairs(BANDS) do
    for _, member in ipairs(call('ZRANGE', band_key(band), 0, WALKED - walked - 1)) do
      walked = walked + 1
      local id = id_of(member)
      local job = call('HMGET', job_key(id), 'credential', 'gen')
      if job[1] == credential then
        withdraw(id)
        call('SET', q .. ':result:' .. id .. ':' .. job[2], 'paused:' .. int(length), 'PX', RESULT_MS)
        if mine(id) then wake(me, 'done:' .. id .. ':' .. job[2]) end
        forget(id, job[2])
      end
    end
    if walked >= WALKED then return end
  end
end

-- A 429 is for its bearer. The service is meant where another bearer got the same and its pause lasts, or the
-- same one that has no credential; of an independent tenant, where two callers are active; and where only one
-- credential is in use.
local function limited(after, by, rules)
  local own, sole = bearer_of(by.credential, by.caller), alone(by.caller)
  local closers, again = {[by.tenant] = by.caller}, sole and by.credential == '' and (left_of('bearer', own) or 0) > 0
  local _, length = begin_pause('bearer', own, by, after, 0, rules)
  local longest = length
  for _, name in ipairs(call('ZRANGEBYSCORE', paused_key('bearer'), '(' .. int(now), '+inf', 'LIMIT', 0, 100)) do
    local left, _, _, tenant, caller = left_of('bearer', name), pause_of('bearer', name)
    if name ~= own and (sole or independent(tenant, by.tenant)) then
      again, longest = true, math.max(longest, left)
      closers[tenant] = closers[tenant] or caller
    end
  end
  if again then return closers, longest end
  if sole and #recent(credentials_key) <= 1 then return closers, after end
  if by.credential ~= '' then turn_away(by.credential, length) end
end

-- Heeds a refusal, a reset or a 429. Answers by whose evidence the service itself is meant (tenant -> caller), and
-- after how long it may be asked again (-1: it did not say); nil where it is not.
local function testify(sign, after, by, rules)
  local fresh = begin_pause('target', by.target, by, after, sign == 'reset' and 1 or 0, rules)
  if sign == 'limited' then return limited(after, by, rules) end
  if not fresh then return nil end
  begin_pause('caller', by.caller, by, after, TOLERATED, rules)
  call('HINCRBY', evidence_key, by.tenant, 1)
  call('HSET', provokers_key, by.tenant, by.caller)
  for _, key in ipairs({evidence_key, provokers_key}) do call('PEXPIRE', key, int(MEMORY / 1000)) end
  local sum, two, counts = 0, false, call('HGETALL', evidence_key)
  for i = 1, #counts, 2 do
    sum, two = sum + tonumber(counts[i + 1]), two or independent(counts[i], by.tenant)
  end
  if sum < ENOUGH or not (two or alone(by.caller)) then return nil end
  local closers, provokers = {}, call('HGETALL', provokers_key)
  for i = 1, #provokers, 2 do closers[provokers[i]] = provokers[i + 1] end
  call('DEL', evidence_key, provokers_key)
  return closers, after
end

-- The service spoke: what came before was not about it.
local function heard_from(by, answered)
  if calm() then return end
  call('DEL', evidence_key, provokers_key)
  if not answered then return end
  end_pause('target', by.target)
  end_pause('caller', by.caller)
  local bearer = bearer_of(by.credential, by.caller)
  if left_of('bearer', bearer) == 0 then end_pause('bearer', bearer) end
end

-- What others than these callers were refused was so because of the block that is over. Theirs may be what brought
-- it about, so that it stays refused, and their own pauses go on.
local function forget_refusals(by)
  call('DEL', evidence_key, provokers_key)
  for _, name in ipairs(call('HKEYS', pauses_key('target'))) do
    local _, _, _, caller = pause_of('target', name)
    if not listed(by, caller or '') then end_pause('target', name) end
  end
end

local function targets_refused()
  return calm() and 0 or call('ZCOUNT', paused_key('target'), '(' .. int(now), '+inf')
end
