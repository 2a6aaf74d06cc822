-- Requests taken from one caller's limits, in advance or afterwards; the same rules as grant.py.
-- KEYS[1] hash   tat (generic cell rate algorithm, microseconds), day (since the epoch), count (requests of that
--                day), interval (by which tat was counted)
-- ARGV: interval in microseconds (0: no rate), burst, most a day (0: no such limit), wanted, owed (taken already)
-- -> granted, wait in microseconds for the next one (0 where there is one), left of the burst, left of the day,
--    microseconds to midnight UTC
local interval, burst, most = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local wanted, owed = tonumber(ARGV[4]), tonumber(ARGV[5])
local DAY = 86400000000
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local function int(x) return string.format('%.0f', x) end

local record = redis.call('HMGET', KEYS[1], 'tat', 'day', 'count', 'interval')
local today = math.floor(now / DAY)
local midnight = (today + 1) * DAY - now
local count = tonumber(record[2]) == today and tonumber(record[3]) or 0
count = math.max(0, count + owed)
local granted, wait, left, ttl = wanted, 0, -1, 0
local tat = math.max(tonumber(record[1]) or 0, now)

if interval > 0 then
  local before = tonumber(record[4]) or 0
  if before > 0 then tat = now + (tat - now) / before * interval end -- a limit that was changed meanwhile
  tat = math.max(now, tat + owed * interval)
  left = math.floor((now + burst * interval - tat) / interval)
  granted = math.max(0, math.min(granted, left))
end
if most > 0 then granted = math.max(0, math.min(granted, most - count)) end
count = count + granted
if interval > 0 then
  tat, left = tat + granted * interval, left - granted
  if left < 1 then wait = tat + interval - now - burst * interval end
  ttl = tat - now
end
if most > 0 then
  ttl = math.max(ttl, midnight)
  if count >= most then wait = math.max(wait, midnight) end
end
redis.call('HSET', KEYS[1], 'tat', int(tat), 'day', int(today), 'count', int(count), 'interval', int(interval))
redis.call('PEXPIRE', KEYS[1], int(ttl / 1000 + 1000))
return {granted, int(math.max(0, wait)), left, most > 0 and most - count or -1, int(midnight)}
