-- Stores an entry or error record unless a newer one is there: an answer that came late never replaces one
-- that was dispatched after it. KEYS[1] the record; ARGV: value, TTL in ms, dispatched (16 digits, as in the
-- value's own head). -> 1 stored, 0 not
local there = redis.call('GETRANGE', KEYS[1], 1, 16)
if #there == 16 and there > ARGV[3] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
