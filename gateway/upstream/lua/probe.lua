-- Who tries a refused credential once its pause is over. ARGV: process, fingerprint, longest milliseconds
-- -> granted (0, 1), microseconds left of its pause (-1: it is not refused)
local name = ARGV[2]
if call('HEXISTS', onhold_key, name) == 1 then return {0, HELD} end
local till = tonumber(call('ZSCORE', refused_key, name))
if not till then return {1, -1} end
if till > now then return {0, int(till - now)} end
return {begin_probe(name, tonumber(ARGV[3])) and 1 or 0, 0}
