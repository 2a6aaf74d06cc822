-- Which queued call is next, when it may set out, who hears of it, and how it is taken.
local DEPTH = 64

-- The caller's budget or the fleet's, whichever is lower: those that disagree keep to the lowest.
local function lowest(interval, burst)
  local others = tonumber(fleet[3]) or 0
  if others == 0 then return interval, burst end
  return math.max(interval, others), interval == 0 and tonumber(fleet[4]) or math.min(burst, tonumber(fleet[4]))
end

-- GCRA (generic cell rate algorithm). `interval` 0 is unlimited. A missing record starts empty, so that a
-- failover never refills the budget. Leaders reserve slots ahead of time, each with some allowance; a record
-- beyond all that can have been reserved (the budget was slower before) is mended where it is read.
local ALLOWANCE = 5000000
local function tat_of(interval, burst)
  local kept = tonumber(call('GET', q .. ':tat'))
  local leaders = call('ZCARD', q .. ':running')
  local latest = now + (burst + leaders + 1) * (interval + ALLOWANCE)
  local tat = math.min(kept or now + burst * interval, latest)
  if tat ~= kept then call('SET', q .. ':tat', int(tat), 'PX', DAY) end
  return tat
end

local function budget_wait(interval, burst)
  interval, burst = lowest(interval, burst)
  if interval == 0 then return 0 end
  return math.max(0, tat_of(interval, burst) - (burst - 1) * interval - now)
end

local function take(interval, burst)
  interval, burst = lowest(interval, burst)
  if interval == 0 then return '0' end
  local tat = int(math.max(tat_of(interval, burst), now) + interval)
  call('SET', q .. ':tat', tat, 'PX', DAY)
  return tat
end

-- When jobs may set out whatever people ask: they have a share of the budget in the busiest hour. So many calls that
-- they found spare count ahead; what they did not use is not saved up.
local CALLS_AHEAD = 10
local function jobs_due(interval)
  local share = tonumber(fleet[5]) or 0
  if share == 0 then return math.huge end
  return math.min(tonumber(fleet[7]) or now, now + CALLS_AHEAD * interval / share)
end

local function note_job(interval, burst)
  interval = lowest(interval, burst)
  local due = jobs_due(interval)
  if interval == 0 or due == math.huge then return end
  local spacing = interval / tonumber(fleet[5])
  fleet[7] = int(math.max(due + spacing, now))
  call('HSET', q .. ':fleet', 'due', fleet[7])
end

-- Microseconds until the budget allows a call of this band. The spare bands leave people their burst: they wait until
-- all calls but the one that they take could follow at once. Warming waits on until its share of such time is over.
local function band_wait(band, interval, burst)
  local wait = budget_wait(interval, burst)
  interval, burst = lowest(interval, burst)
  if interval == 0 or not SPARE[band] then return wait end
  local spare = tat_of(interval, burst) - now
  if band == WARM then spare = spare + interval * (1 / (tonumber(fleet[6]) or 1) - 1) end
  if band == JOBS then spare = math.min(spare, jobs_due(interval) - now) end
  return math.max(wait, spare)
end

-- Microseconds until somebody of this band may set out, by the gate and the budget.
local function turn_wait(band, interval, burst) return math.max(gate_wait(), band_wait(band, interval, burst)) end

-- Whether the next call is one that jobs are guaranteed, though somebody goes before them: it is the only one that the
-- budget allows then.
local function owed(interval, burst)
  local wait = budget_wait(interval, burst)
  interval, burst = lowest(interval, burst)
  return interval > 0 and jobs_due(interval) <= now + wait and tat_of(interval, burst) - (burst - 2) * interval > now
end

-- The queued call whose turn is next, and its band: the first in the order of rank, but for those that jobs are
-- guaranteed.
-- Through a half-open gate it is one of those who did not close it, then any but the very query that did.
local function head(interval, burst)
  local gate = calm() and {} or call('HMGET', gate_key, 'until', 'by', 'query')
  if not gate[1] or tonumber(gate[1]) > now then
    local function anybody() return true end
    local id, band = first(BANDS, 1, anybody)
    if not id or band >= JOBS or not owed(interval, burst) then return id, band end
    local job = first({JOBS}, 1, anybody)
    return job or id, job and JOBS or band
  end
  local function another(id) return id ~= gate[3] end
  local function trusted(id) return another(id) and not listed(gate[2] or '', caller_of(id)) end
  local function probing(id) return may_probe(caller_of(id)) end
  local id, band = first(BANDS, DEPTH, trusted)
  if not id then id, band = first(BANDS, DEPTH, function(each) return another(each) and probing(each) end) end
  if not id then id, band = first(BANDS, DEPTH, probing) end
  return id, band
end

-- Tells the processes that hold the next queued call when its turn comes. Answers the wait in microseconds where the
-- caller is one of them (it needs no message), else -1.
local function announce(interval, burst)
  local id, band = head(interval, burst)
  if not id then return -1 end
  local wait, own = turn_wait(band, interval, burst), -1
  for _, proc in ipairs(call('SMEMBERS', procs_key(id))) do
    if proc == me then own = wait else wake(proc, 'turn:' .. int(wait)) end
  end
  return own
end

-- The caller becomes the leader of this call's flight; the call does not wait in the queue.
local function lead(id, gen, token, band, interval, burst)
  call('HSET', job_key(id), 'state', 'running', 'owner', me, 'token', token)
  call('ZADD', q .. ':running', int(now), id)
  pass(id, token)
  if band == JOBS then note_job(interval, burst) end
  return {'claimed', id, gen, token, take(interval, burst), announce(interval, burst), gate_word()}
end

-- The same for one that is.
local function dispatch(id, token, interval, burst)
  local job = call('HMGET', job_key(id), 'band', 'start', 'gen')
  dequeue(id)
  if queued() > 0 then call('HSET', q .. ':fair', 'v' .. job[1], job[2]) end
  return lead(id, job[3], token, tonumber(job[1]), interval, burst)
end
