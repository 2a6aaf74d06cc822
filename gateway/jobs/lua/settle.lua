-- Notes what became of a run of a warming, and forgets those that were due more than three days
-- before.
-- KEYS[1] hash   as in begin.lua
-- ARGV: mark, due (Unix seconds), what became of it, the id of its job (empty: it has none), life in milliseconds
local due = tonumber(ARGV[2])
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  local before = tonumber(string.match(field, ':(%d+)$'))
  if before and before < due - 3 * 86400 then redis.call('HDEL', KEYS[1], field) end
end
redis.call('HSET', KEYS[1], ARGV[1] .. ':' .. ARGV[2], ARGV[3])
if ARGV[4] ~= '' then redis.call('HSET', KEYS[1], 'job', ARGV[4]) end
redis.call('PEXPIRE', KEYS[1], ARGV[5])
return 1
