-- Puts one tenant's record in place of the one that was read, with the owners of what it alone may hold (keys and
-- networks) and a line in the list of changes.
-- KEYS: tenants (hash id -> record), owners (hash holding -> tenant id), changes (stream)
-- ARGV: tenant id, record as it was read ('' none), record to be ('' none), how many changes to keep,
--       how many holdings it gives up, those, then those it is to have
-- Answers 1; 0 when the record is another by now; or the tenant that has one of them already.
local tenant, before, after = ARGV[1], ARGV[2], ARGV[3]
if (redis.call('HGET', KEYS[1], tenant) or '') ~= before then return 0 end
local held = tonumber(ARGV[5])
for place = 6 + held, #ARGV do
  local owner = redis.call('HGET', KEYS[2], ARGV[place])
  if owner and owner ~= tenant then return owner end
end
for place = 6, 5 + held do
  if redis.call('HGET', KEYS[2], ARGV[place]) == tenant then redis.call('HDEL', KEYS[2], ARGV[place]) end
end
for place = 6 + held, #ARGV do redis.call('HSET', KEYS[2], ARGV[place], tenant) end
if after == '' then
  redis.call('HDEL', KEYS[1], tenant)
else
  redis.call('HSET', KEYS[1], tenant, after)
end
redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[4], '*', 'tenant', tenant)
return 1
