-- Writes a purge mark. KEYS[1] the marks, a hash: name -> microseconds; its field '#' is a version that no two purges
-- share, also where Redis forgot the earlier ones. ARGV: name, longest life of an entry in ms, most marks, channel
-- (and as in moment.lua)
-- -> microseconds of the mark, or 0 where there are too many
local marks, name, life, most = KEYS[1], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local stamp = string.format('%.0f', now)

local everything = name == 'h:all' or name == 's:all'
if everything then
  -- It covers what was purged before: a hard purge all of it, a soft one what was purged softly.
  local all = redis.call('HGETALL', marks)
  for i = 1, #all, 2 do
    local covered = all[i] ~= '#' and (name == 'h:all' or string.sub(all[i], 1, 2) == 's:')
    if covered and tonumber(all[i + 1]) <= now then redis.call('HDEL', marks, all[i]) end
  end
elseif redis.call('HEXISTS', marks, name) == 0 and redis.call('HLEN', marks) > most then
  local all = redis.call('HGETALL', marks)
  for i = 1, #all, 2 do
    if all[i] ~= '#' and tonumber(all[i + 1]) < now - life * 1000 then redis.call('HDEL', marks, all[i]) end
  end
  if redis.call('HLEN', marks) > most then return 0 end
end
redis.call('HSET', marks, name, stamp, '#', stamp)
redis.call('PEXPIRE', marks, life)
redis.call('PUBLISH', ARGV[4], name .. '=' .. stamp)
return tonumber(stamp)
