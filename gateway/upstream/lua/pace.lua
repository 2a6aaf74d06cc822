-- When the next job may set out, who is told, and how it is taken.

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

-- Microseconds until somebody may set out, by the gate and the budget.
local function turn_wait(interval, burst) return math.max(gate_wait(), budget_wait(interval, burst)) end

-- Tells the processes that hold the next job when its turn comes. Answers the wait in microseconds where the
-- caller is one of them (it needs no message), else -1.
local function announce(interval, burst)
  local id = head()
  if not id then return -1 end
  local wait, own = turn_wait(interval, burst), -1
  for _, proc in ipairs(call('SMEMBERS', procs_key(id))) do
    if proc == me then own = wait else wake(proc, 'turn:' .. int(wait)) end
  end
  return own
end

-- The caller becomes the leader of this job's flight; the job is not queued.
local function lead(id, gen, token, interval, burst)
  call('HSET', job_key(id), 'state', 'running', 'owner', me, 'token', token)
  call('ZADD', q .. ':running', int(now), id)
  pass(id, token)
  return {'claimed', id, gen, token, take(interval, burst), announce(interval, burst), gate_word()}
end

-- The same for one that is.
local function dispatch(id, token, interval, burst)
  local job = call('HMGET', job_key(id), 'band', 'start', 'gen')
  dequeue(id)
  if queued() > 0 then call('HSET', q .. ':fair', 'v' .. job[1], job[2]) end
  return lead(id, job[3], token, interval, burst)
end
