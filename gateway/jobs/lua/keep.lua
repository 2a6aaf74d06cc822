-- Writes what the leader of a job has to say, unless somebody else leads it or it has ended.
-- KEYS[1] hash   job, wants; state, standing; leader (the token of who leads it, empty for nobody); 0, 1, … chunks
-- ARGV: token, life in milliseconds, whether the job is written whole, state, field, value, field, value, …
-- -> kept | gone (Redis has forgotten the job) | ended
local token, whole = ARGV[1], ARGV[3] == '1'
local leader = redis.call('HGET', KEYS[1], 'leader')
if not leader and not whole then return 'gone' end
if leader and leader ~= token then return 'ended' end
if ARGV[4] ~= 'running' then token = '' end
redis.call('HSET', KEYS[1], 'leader', token, 'state', ARGV[4], unpack(ARGV, 5))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 'kept'
