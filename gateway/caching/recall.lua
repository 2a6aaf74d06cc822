-- Tells the fleet that a record was recalled, so that every process forgets its near copy. KEYS[1] the purge marks
-- (purge.lua); their fields 'r:<record>' are such news, of which the oldest leave first: a process that hears of none
-- for longer than it takes to make so many keeps what it has near.
-- ARGV: record, most recalls, longest life of an entry in ms, channel   -> microseconds of the news
local marks, name, most = KEYS[1], 'r:' .. ARGV[1], tonumber(ARGV[2])
local time = redis.call('TIME')
local stamp = string.format('%.0f', time[1] * 1000000 + time[2])
local all, recalls, oldest, since = redis.call('HGETALL', marks), 0, nil, nil
for i = 1, #all, 2 do
  if string.sub(all[i], 1, 2) == 'r:' and all[i] ~= name then
    recalls = recalls + 1
    if not since or tonumber(all[i + 1]) < since then oldest, since = all[i], tonumber(all[i + 1]) end
  end
end
if recalls >= most then redis.call('HDEL', marks, oldest) end
redis.call('HSET', marks, name, stamp, '#', stamp)
redis.call('PEXPIRE', marks, ARGV[3])
redis.call('PUBLISH', ARGV[4], name .. '=' .. stamp)
return tonumber(stamp)
