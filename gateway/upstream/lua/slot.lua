-- The leader writes its request later than the guard allows after its slot: the slot is moved to now where
-- nobody has taken one since (the record still is the leader's), else the leader gets the next one.
-- ARGV: process, tat, late microseconds, interval, burst  -> wait microseconds, tat
local interval, burst = tonumber(ARGV[4]), tonumber(ARGV[5])
if interval == 0 then return {0, '0'} end
local record = call('GET', q .. ':tat')
if record == ARGV[2] then
  local tat = int(math.min(tonumber(record) + tonumber(ARGV[3]), now + burst * interval))
  call('SET', q .. ':tat', tat, 'PX', DAY)
  return {0, tat}
end
local wait = budget_wait(interval, burst)
local tat = int(math.max(tat_of(interval, burst), now) + interval)
call('SET', q .. ':tat', tat, 'PX', DAY)
return {wait, tat}
