-- Who tries a refused credential once its pause is over: for as long again, only with a question that was not
-- refused yet. Where it is refused on one tenant's evidence alone, the next other tenant may try at once.
-- ARGV: process, fingerprint, question, longest milliseconds, the breaker's pause and longest, tenant
-- -> granted (0, 1), microseconds left of its pause (-1: it is not refused)
local name = ARGV[2]
if call('HEXISTS', onhold_key, name) == 1 then return {0, HELD} end
local till = tonumber(call('ZSCORE', refused_key, name))
if not till then return {1, -1} end
if till > now then
  local alone = call('GET', alone_key(name))
  if not alone or ARGV[7] == '' or alone == ARGV[7] then return {0, int(till - now)} end
  call('DEL', alone_key(name))
  return {begin_probe(name, tonumber(ARGV[4])) and 1 or 0, int(till - now)}
end
local level = tonumber(call('GET', refusals_key(name))) or 1
local again = now < till + breaker_pause(level, tonumber(ARGV[5]), tonumber(ARGV[6]))
if again and call('HEXISTS', suspected_key(name), ARGV[3]) == 1 then return {0, 0} end
return {begin_probe(name, tonumber(ARGV[4])) and 1 or 0, 0}
