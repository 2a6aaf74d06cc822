-- Changes one field of a hash where it is still what the caller read.
-- KEYS: the hash · ARGV: field, what was read (empty: nothing), what to write, time to live in milliseconds
-- Answers 1 where it was written; else what is there now, empty where it is gone.
local there = redis.call('HGET', KEYS[1], ARGV[1]) or ''
if there ~= ARGV[2] then
  return there
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return 1
