-- What every script of the queue begins with. KEYS[1] is the queue's prefix, with its hash tag: all keys of
-- the queue live in one slot. ARGV[1] is the calling process, the last one what the fleet's time should be by its
-- own monotonic clock; or negative, the wall clock of a newcomer, which does not know it yet. Times are integer
-- microseconds of the fleet's time.
--
--   :fleet           hash   skew (how far the fleet's time is ahead of Redis's clock), last (its latest known time);
--                           interval, burst (the lowest budget of those that live); jobs, warm (the shares that the
--                           last heartbeat reported); due (when jobs' next guaranteed call may set out)
--   :job:<id>        hash   tenant caller credential cost band member start gen state(queued|running) owner token attempts;
--                           unkept (its answer will not be stored); others, also:<tenant> (who else asked, and what
--                           it costs them); idle:<process> (it holds the call, and nobody there waits for it)
--   :procs:<id>      set    the processes that hold the request of a call and could run it
--   :held:<proc>     set    the queued calls that a process holds; the reaper's way from a dead process to them
--   :band:<number>   zset   who is next within a priority; score = start tag, one less where its tenant had no
--                           turn to wait for: among equals, newcomers go first
--   :fair            hash   seq; per band the virtual time v and each tenant's finish tag f (start-time fair queuing)
--   :pending         hash   tenant -> queued calls
--   :line:<tenant>   zset   a tenant's queued calls in the order of their turns
--   :load            zset   tenants with more than one queued call -> what those cost them together
--   :running         zset   id -> dispatched
--   :tat             string theoretical arrival time of the next call (GCRA)
--   :turn            string id|since: whose turn it is, and since when
--   :live            zset   process -> last sign of life
--   :terms           hash   process -> interval|burst|mark of its encryption key: all of a fleet have the same
--   :done:<id>       string when a flight of this id landed, within the last seconds
--   :result:<id>:<gen>      what it landed with, where another process waits for it
--   :gate            hash   (gate.lua)          :refused, :refusals, :probing:<fingerprint>, :onhold   (breaker.lua)
--   :paused, :pauses:<kind>, :evidence, :provokers, :callers, :credentials, :users   (evidence.lua)
--
-- Channels: :wake:<proc> has, for one process, whose turn it is and what landed, :news all of them of the gate and
-- of refused credentials. Messages are hints.
local q, me = KEYS[1], ARGV[1]
local call = redis.call
local DAY = 86400000
local RESULT_MS = 20000
local BAND = 2 ^ 51 -- beyond every start tag, so that a line is in the order of bands first

-- The fleet's time runs on evenly while Redis's clock steps (NTP, a failover to a host with another clock), so that
-- whatever is kept with a time stays as far ahead, or back, as it was. Where it would be further than LEAP from what
-- the caller expects, that holds; it never goes back behind `last`. Each sign of life notes how far it is ahead of
-- Redis's clock (beat.lua).
--
-- A newcomer's wall clock distinguishes a step ahead of Redis's from a long silence of the fleet, and may be wrong
-- itself. So it only decides how far beyond `last` Redis is believed: in a fleet that lives, a wrong one moves nothing
-- by more than a beat. Where there is no fleet yet, Redis's clock is its time.
local LEAP = 1500000
local time = call('TIME')
local wall = time[1] * 1000000 + time[2]
local fleet = call('HMGET', q .. ':fleet', 'skew', 'last', 'interval', 'burst', 'jobs', 'warm', 'due')
local expected = tonumber(table.remove(ARGV)) or 0
local skew = tonumber(fleet[1]) or math.max(0, expected - wall)
local now = wall + skew
if expected > 0 and math.abs(now - expected) > LEAP then now = expected end
if expected < 0 and fleet[2] and now + expected > LEAP then now = -expected end
now = math.max(now, tonumber(fleet[2]) or 0)

local function int(x) return string.format('%.0f', x) end
local function job_key(id) return q .. ':job:' .. id end
local function procs_key(id) return q .. ':procs:' .. id end
local function held_key(proc) return q .. ':held:' .. proc end
local function band_key(band) return q .. ':band:' .. band end
local function line_key(tenant) return q .. ':line:' .. tenant end
local function id_of(member) return string.sub(member, 14) end
local function wake(proc, message) call('PUBLISH', q .. ':wake:' .. proc, message) end
local function news(message) call('PUBLISH', q .. ':news', message) end

local function queued()
  local jobs = 0
  for _, band in ipairs(BANDS) do jobs = jobs + call('ZCARD', band_key(band)) end
  return jobs
end

-- How many queued calls go before another.
local function rank_of(band, member)
  local rank = call('ZRANK', band_key(band), member) or 0
  for _, before in ipairs(BANDS) do
    if before < tonumber(band) then rank = rank + call('ZCARD', band_key(before)) end
  end
  return rank
end

-- A tenant has so many more queued calls. What they cost together depends on its share: whoever has a larger one
-- may have more of them.
local function count(tenant, more, cost)
  local jobs = call('HINCRBY', q .. ':pending', tenant, more)
  if jobs <= 0 then call('HDEL', q .. ':pending', tenant) end
  if jobs > 1 then
    call('ZADD', q .. ':load', int(jobs * cost), tenant)
  else
    call('ZREM', q .. ':load', tenant)
  end
end

-- Redis keeps no seq while the queue is empty, so a generation has a time as well.
-- A queued call's cost in virtual time is what its payer's share makes of it.
local function enqueue(id, tenant, band)
  local cost = tonumber(call('HGET', job_key(id), 'cost')) or 1000
  local fair = q .. ':fair'
  local v = tonumber(call('HGET', fair, 'v' .. band)) or 0
  local f = tonumber(call('HGET', fair, 'f' .. band .. ':' .. tenant)) or 0
  local start = math.max(v, f)
  call('HSET', fair, 'f' .. band .. ':' .. tenant, int(start + cost))
  local member = string.format('%012d:%s', call('HINCRBY', fair, 'seq', 1), id)
  call('ZADD', band_key(band), int(f <= v and start - 1 or start), member)
  call('ZADD', line_key(tenant), int(band * BAND + start), member)
  call('PEXPIRE', line_key(tenant), DAY)
  count(tenant, 1, cost)
  call('HSET', job_key(id), 'tenant', tenant, 'band', band, 'member', member, 'start', int(start), 'state', 'queued')
end

local function dequeue(id)
  local job = call('HMGET', job_key(id), 'band', 'member', 'tenant', 'cost')
  if call('ZREM', band_key(job[1]), job[2]) == 1 then
    call('ZREM', line_key(job[3]), job[2])
    count(job[3], -1, tonumber(job[4]) or 1000)
  end
  if queued() == 0 then call('DEL', q .. ':fair', q .. ':pending', q .. ':load') end
end

local function hold(proc, id)
  call('SADD', procs_key(id), proc)
  call('SADD', held_key(proc), id)
  call('PEXPIRE', procs_key(id), DAY)
  call('PEXPIRE', held_key(proc), DAY)
end

-- Whether a flight of this id landed within the last seconds, whatever became of Redis's clock and TTLs.
local function landed_lately(id)
  local at = tonumber(call('GET', q .. ':done:' .. id))
  return at and now - at < RESULT_MS * 1000
end

-- A queued call leaves the queue for good; whoever else held it hears of it.
local function forget(id, gen)
  for _, proc in ipairs(call('SMEMBERS', procs_key(id))) do
    call('SREM', held_key(proc), id)
    if proc ~= me then wake(proc, 'done:' .. id .. ':' .. gen) end
  end
  call('DEL', job_key(id), procs_key(id))
  call('ZREM', q .. ':running', id)
end

-- A queued call can be gone before its place in the queue: Redis evicted it, or Redis's clock leapt over its expiry.
local function stray(band, member)
  if call('HGET', job_key(id_of(member)), 'member') == member then return false end
  call('ZREM', band_key(band), member)
  return true
end

-- The first queued call in the order of rank for which accept(id, band) holds, among the first `depth` of these
-- bands; and its band.
local function first(bands, depth, accept)
  for _, band in ipairs(bands) do
    local members = call('ZRANGE', band_key(band), 0, depth - 1)
    local strays = 0
    for _, member in ipairs(members) do
      local id = id_of(member)
      if stray(band, member) then
        strays = strays + 1
      elseif accept(id, band) then
        return id, band
      end
    end
    if strays > 0 then return first(bands, depth, accept) end
    depth = depth - #members
    if depth <= 0 then return nil end
  end
  return nil
end

local function mine(id) return call('SISMEMBER', procs_key(id), me) == 1 end

-- A running call waits again; its token dies with its leader's lead, so that a result that still comes is late.
local function requeue(id)
  local job = call('HMGET', job_key(id), 'tenant', 'band')
  call('ZREM', q .. ':running', id)
  call('HDEL', job_key(id), 'token', 'owner')
  enqueue(id, job[1], job[2])
end
