-- Sends the fleet news that is no purge. KEYS[1] the purge marks (purge.lua); their fields 'r:<record>' say that every
-- process has to forget its near copy of a record, 'p:<institution>' that an institution keeps its totals to itself. Of
-- each kind the oldest leave first: a process that hears of no recall for longer than it takes to make so many keeps
-- what it has near.
-- ARGV: name, most of its kind, longest life of an entry in ms, channel (and as in moment.lua)   -> microseconds of it
local marks, name, most = KEYS[1], ARGV[1], tonumber(ARGV[2])
local kind, stamp = string.sub(name, 1, 2), string.format('%.0f', now)
local all, others, oldest, since = redis.call('HGETALL', marks), 0, nil, nil
for i = 1, #all, 2 do
  if string.sub(all[i], 1, 2) == kind and all[i] ~= name then
    others = others + 1
    if not since or tonumber(all[i + 1]) < since then oldest, since = all[i], tonumber(all[i + 1]) end
  end
end
if others >= most then redis.call('HDEL', marks, oldest) end
redis.call('HSET', marks, name, stamp, '#', stamp)
redis.call('PEXPIRE', marks, ARGV[3])
redis.call('PUBLISH', ARGV[4], name .. '=' .. stamp)
return tonumber(stamp)
