-- Requests taken from callers' limits, in advance or afterwards, for each of several callers by itself.
-- KEYS: a hash for each caller: tat (generic cell rate algorithm, microseconds), day (since the epoch), count
--       (requests of that day), interval (by which tat was counted), born (when this record was begun), told_tat and
--       told_count (the most that it was told of earlier records, and how much of it is counted here), at (when this
--       was written: were that ahead of now, the clock was set back, and all goes with it)
-- ARGV, ten for each key: interval in microseconds (0: no rate), burst, most a day (0: no such limit), wanted; taken
--       already, or given back: by the rate, and of the day; born, tat, day and count as this process heard them
--       last: of an earlier record, they are what Redis has forgotten
-- -> for each key: granted, microseconds that tat lies ahead of now, microseconds to midnight UTC; born, tat, day,
--    count; or the error of a key that holds something else
local DAY = 86400000000
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local function int(x) return string.format('%.0f', x) end
local today = math.floor(now / DAY)
local midnight = (today + 1) * DAY - now
local fields = { 'tat', 'day', 'count', 'interval', 'born', 'told_tat', 'told_count', 'at' }

local function taken(key, interval, burst, most, wanted, owed, spent, seen_born, seen_tat, seen_day, seen_count)
  local record = redis.pcall('HMGET', key, unpack(fields))
  if record.err then return record.err end
  local ahead = math.max(0, (tonumber(record[8]) or 0) - now)
  local tat = math.max((tonumber(record[1]) or 0) - ahead, now)
  local counts = (tonumber(record[2]) or 0) >= today -- a day ahead of today is today, before the clock was set back
  local count = counts and tonumber(record[3]) or 0
  local before, born = tonumber(record[4]) or 0, tonumber(record[5]) and record[5] or int(now)
  local told_tat = record[6] and tonumber(record[6]) - ahead or tat
  local told_count = counts and tonumber(record[7]) or count

  if interval > 0 and before > 0 then -- it may have been changed meanwhile
    tat = now + (tat - now) / before * interval
    told_tat = now + (told_tat - now) / before * interval
  end
  told_tat = math.max(told_tat, now)
  if born ~= seen_born then -- what was told meanwhile comes on top of it
    seen_tat = math.min(seen_tat, now + burst * interval)
    tat = tat + math.max(0, seen_tat - told_tat)
    told_tat = math.max(told_tat, seen_tat)
    if seen_day >= today then
      count = count + math.max(0, seen_count - told_count)
      told_count = math.max(told_count, seen_count)
    end
  end
  count = math.max(0, count + spent)

  local granted, ttl = wanted, 0
  if interval > 0 then
    tat = math.max(now, tat + owed * interval)
    granted = math.max(0, math.min(granted, math.floor((now + burst * interval - tat) / interval)))
  end
  if most > 0 then granted = math.max(0, math.min(granted, most - count)) end
  count = count + granted
  if interval > 0 then
    tat = tat + granted * interval
    ttl = math.max(tat, told_tat) - now
  end
  if most > 0 then ttl = math.max(ttl, midnight) end
  local kept = { 'tat', int(tat), 'day', int(today), 'count', int(count), 'interval', int(interval), 'born', born }
  redis.call('HSET', key, 'told_tat', int(told_tat), 'told_count', int(told_count), 'at', int(now), unpack(kept))
  redis.call('PEXPIRE', key, int(ttl / 1000 + 1000))
  return { granted, int(tat - now), int(midnight), born, int(tat), int(today), int(count) }
end

local answers = {}
for at, key in ipairs(KEYS) do
  local first = (at - 1) * 10
  local numbers = {}
  for each = 1, 10 do numbers[each] = tonumber(ARGV[first + each]) end
  numbers[7] = ARGV[first + 7] -- born names a record, and is compared as text
  answers[at] = taken(key, unpack(numbers))
end
return answers
