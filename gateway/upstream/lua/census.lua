-- What an operator wants to see of the fleet; moves nothing. Lists are cut at `most`, counts are whole.
-- ARGV: process, dead-after, interval, burst, most
-- -> queued per band, tenants {tenant, per band …}, how many tenants, how many calls were not looked at,
--    running {id, tenant, band, age, attempts, process}, how many, processes {process, silence}, how many,
--    the gate {what it is by the signs, its wait, held for, or -1, why it closed, how many targets are refused},
--    the budget's wait,
--    credentials {fingerprint, left, held for, or -1}, how many,
--    the first that wait {id, tenant, band, age}
local dead_after = tonumber(ARGV[2])
local interval, burst = lowest(tonumber(ARGV[3]), tonumber(ARGV[4]))
local most = tonumber(ARGV[5])
-- Other commands wait while this runs: of a very long queue, the first calls are counted by tenant.
local WALK = 5000

local bands, depths, tenants, waiting, left = {}, {}, {}, {}, WALK
for place, band in ipairs(BANDS) do
  bands[place] = call('ZCARD', band_key(band))
  local members = left > 0 and call('ZRANGE', band_key(band), 0, left - 1) or {}
  left = left - #members
  for _, member in ipairs(members) do
    local id = id_of(member)
    local job = call('HMGET', job_key(id), 'tenant', 'gen')
    local tenant = job[1] or ''
    if #waiting < most then
      -- A generation is the wall clock of the submission.
      waiting[#waiting + 1] = {id, tenant, tostring(band), int(math.max(0, wall - (tonumber(job[2]) or wall)))}
    end
    if not depths[tenant] then
      depths[tenant] = {tenant, sum = 0}
      for each = 1, #BANDS do depths[tenant][each + 1] = 0 end
      tenants[#tenants + 1] = depths[tenant]
    end
    depths[tenant][place + 1] = depths[tenant][place + 1] + 1
    depths[tenant].sum = depths[tenant].sum + 1
  end
end
table.sort(tenants, function(a, b)
  if a.sum ~= b.sum then return a.sum > b.sum end
  return a[1] < b[1]
end)
local deepest = {}
for i = 1, math.min(most, #tenants) do deepest[i] = tenants[i] end

local running, flying = call('ZRANGE', q .. ':running', 0, most - 1, 'WITHSCORES'), {}
for i = 1, #running, 2 do
  local job = call('HMGET', job_key(running[i]), 'tenant', 'band', 'attempts', 'owner')
  local age = int(math.max(0, now - tonumber(running[i + 1])))
  flying[#flying + 1] = {running[i], job[1] or '', job[2] or '0', age, job[3] or '0', job[4] or ''}
end

local living, alive = '(' .. int(now - dead_after), {}
local live = call('ZREVRANGEBYSCORE', q .. ':live', '+inf', living, 'WITHSCORES', 'LIMIT', 0, most)
for i = 1, #live, 2 do alive[#alive + 1] = {live[i], int(math.max(0, now - tonumber(live[i + 1])))} end

local wait, state, held = gate_state()
local why = call('HGET', gate_key, 'why') or ''
local gate = {state, int(wait), held and int(now - tonumber(held)) or '-1', why, targets_refused()}
-- A missing record of the budget starts empty; to write it is the business of those who ask.
local pace = 0
if interval > 0 then pace = call('EXISTS', q .. ':tat') == 1 and budget_wait(interval, burst) or interval end

local onhold, credentials, both = call('HGETALL', onhold_key), {}, 0
for i = 1, #onhold, 2 do
  local till = tonumber(call('ZSCORE', refused_key, onhold[i]))
  if till then both = both + 1 end
  if #credentials < most then
    local remaining = till and math.max(0, till - now) or 0
    credentials[#credentials + 1] = {onhold[i], int(remaining), int(now - tonumber(onhold[i + 1]))}
  end
end
local refused = call('ZREVRANGE', refused_key, 0, most - 1, 'WITHSCORES')
for i = 1, #refused, 2 do
  if #credentials < most and call('HEXISTS', onhold_key, refused[i]) == 0 then
    credentials[#credentials + 1] = {refused[i], int(math.max(0, tonumber(refused[i + 1]) - now)), '-1'}
  end
end
local total = #onhold / 2 + call('ZCARD', refused_key) - both

return {
  bands, deepest, #tenants, queued() - (WALK - left),
  flying, call('ZCARD', q .. ':running'), alive, call('ZCOUNT', q .. ':live', living, '+inf'),
  gate, int(pace), credentials, total, waiting,
}
