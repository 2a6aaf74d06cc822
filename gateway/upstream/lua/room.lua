-- Who gives way: queued calls that nobody waits for; and where the queue is full, the last one of whoever has the most.
local OTHERS = 4
local CHARGED = 32
local STALE = 32

-- Out of the queue without having been served: its tenant's next queued call takes the turn that it paid for.
local function withdraw(id)
  local job = call('HMGET', job_key(id), 'band', 'tenant', 'cost')
  local finish = 'f' .. job[1] .. ':' .. job[2]
  local f = tonumber(call('HGET', q .. ':fair', finish))
  if f then call('HSET', q .. ':fair', finish, int(math.max(0, f - (tonumber(job[3]) or 1000)))) end
  dequeue(id)
end

-- A queued call ends unserved; those who hold it hear of that, and how many went before it.
local function drop(member, band)
  local id = id_of(member)
  local gen = call('HGET', job_key(id), 'gen')
  if not gen then return call('ZREM', band_key(band), member) end
  local word = 'dropped:' .. rank_of(band, member)
  withdraw(id)
  call('SET', q .. ':result:' .. id .. ':' .. gen, word, 'PX', RESULT_MS)
  if mine(id) then wake(me, 'done:' .. id .. ':' .. gen) end
  forget(id, gen)
end

-- Whether anybody waits for a queued call, in any process that holds it.
local function awaited(id)
  for _, proc in ipairs(call('SMEMBERS', procs_key(id))) do
    if call('HEXISTS', job_key(id), 'idle:' .. proc) == 0 then return true end
  end
  return false
end

-- Nobody waits for a queued call any more. What it would bring for nobody is not asked for; what it would bring
-- for later waits behind all that somebody waits for.
local function abandon(id)
  local job = call('HMGET', job_key(id), 'band', 'member', 'tenant', 'unkept')
  if job[4] == '1' then
    drop(job[2], job[1])
    return 'dropped'
  end
  if tonumber(job[1]) == PEOPLE then
    withdraw(id)
    enqueue(id, job[3], LEFT)
  end
  return 'behind'
end

-- Another tenant than the one who pays asked for a queued call too; only so many are remembered.
local function note(id, payer, tenant, cost)
  if tenant == payer or (tonumber(call('HGET', job_key(id), 'others')) or 0) >= OTHERS then return end
  if call('HSETNX', job_key(id), 'also:' .. tenant, cost) == 1 then call('HINCRBY', job_key(id), 'others', 1) end
end

-- Charges a queued call to another tenant who asked for it; whether there was one.
local function charge_another(id, payer)
  local job = call('HGETALL', job_key(id))
  for i = 1, #job, 2 do
    local tenant = string.match(job[i], '^also:(.*)$')
    if tenant and tenant ~= payer then
      withdraw(id)
      call('HDEL', job_key(id), job[i], 'caller')
      call('HSET', job_key(id), 'cost', job[i + 1])
      enqueue(id, tenant, PEOPLE)
      return true
    end
  end
  return false
end

-- A tenant's last queued call in the queue, and its band. What an older version took out of it is struck off the line.
local function last_of(tenant)
  for _ = 1, STALE do
    local last = call('ZREVRANGE', line_key(tenant), 0, 0)[1]
    if not last then return nil end
    local band = call('HGET', job_key(id_of(last)), 'band')
    if band and call('ZSCORE', band_key(band), last) then return last, tonumber(band) end
    call('ZREM', line_key(tenant), last)
  end
  return nil
end

-- How many queued calls go before a tenant's next one, as far as is known now.
local function ahead_of(tenant)
  local last, band = last_of(tenant)
  return last and rank_of(band, last) + 1 or queued()
end

-- Room among a tenant's own queued calls: one that goes after the new one's band ends for it.
local function own_room(tenant, band)
  local last, behind = last_of(tenant)
  if not last or behind <= band then return false end
  drop(last, behind)
  return true
end

-- Room in a full queue: the last one of the latest priority goes, where that is later than the new one's; else the last
-- one of whoever has the most by its share, but nobody's only one. Where another tenant waits for it too, that one is
-- charged for it instead, and the next is looked for. Of those who have some already, whoever would have the
-- most finds no room. Whether there is room.
local function make_room(band, pending, cost)
  for place = #BANDS, 1, -1 do
    local later = BANDS[place]
    local last = later > band and call('ZREVRANGE', band_key(later), 0, 0)[1]
    if last then
      drop(last, later)
      return true
    end
  end
  if band > PEOPLE then return false end
  for step = 1, CHARGED do
    local most = call('ZREVRANGE', q .. ':load', 0, 0, 'WITHSCORES')
    local tenant = most[1]
    if not tenant or (pending > 0 and (pending + 1) * cost >= tonumber(most[2])) then return false end
    local last, own = last_of(tenant)
    if not last then
      call('ZREM', q .. ':load', tenant)
    elseif step == CHARGED or not charge_another(id_of(last), tenant) then
      drop(last, own)
      return true
    end
  end
  return false
end
