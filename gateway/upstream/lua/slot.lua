-- The leader writes its request later than the guard allows after its slot: the slot is moved to now where
-- nobody has taken one since (the record still is the leader's), else the leader gets the next one.
-- ARGV: process, tat, interval, burst  -> wait microseconds, tat
local interval, burst = tonumber(ARGV[3]), tonumber(ARGV[4])
if interval == 0 then return {0, '0'} end
local record = call('GET', q .. ':tat')
if record == ARGV[2] then
  local late = now - (tonumber(record) - burst * interval)
  local tat = int(math.min(tonumber(record) + math.max(0, late), now + burst * interval))
  call('SET', q .. ':tat', tat, 'PX', DAY)
  return {0, tat}
end
local wait = budget_wait(interval, burst)
local tat = int(math.max(tat_of(interval, burst), now) + interval)
call('SET', q .. ':tat', tat, 'PX', DAY)
return {wait, tat}
