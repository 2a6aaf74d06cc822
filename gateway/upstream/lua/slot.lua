-- The leader writes its request later than the guard allows after its slot: the slot is moved to now where
-- nobody has taken one since (the record still is the leader's), else the leader gets the next one. The next
-- slot keeps its distance even if the leader takes up to the allowance to write.
-- ARGV: process, id, token, tat, late, allowance (microseconds), interval, burst
-- -> wait microseconds (-1: no longer the leader), tat
local id, token, mine_before = ARGV[2], ARGV[3], ARGV[4]
local late, allowance = tonumber(ARGV[5]), math.min(tonumber(ARGV[6]), ALLOWANCE)
local interval, burst = lowest(tonumber(ARGV[7]), tonumber(ARGV[8]))
if call('HGET', job_key(id), 'token') ~= token then return {-1, '0'} end

local wait, tat = 0, 0
local record = call('GET', q .. ':tat')
if record == mine_before then
  tat = tonumber(record) + late + allowance
else
  wait = budget_wait(interval, burst)
  tat = math.max(tat_of(interval, burst), now) + interval + allowance
end
call('SET', q .. ':tat', int(tat), 'PX', DAY)
call('ZADD', q .. ':running', int(now + wait), id)
return {wait, int(tat)}
