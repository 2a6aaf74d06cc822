-- Counts a job of a tenant, new or not; drops the oldest of those that have ended where there are too many, or they
-- keep too much.
-- KEYS[1] hash   id -> when this was written (Unix seconds)|1 while it runs or pauses, else 0|bytes that it keeps
-- ARGV: id, 1 or 0, bytes, life in seconds, most that run or pause, most in all, most bytes,
--       for how many seconds a new one counts until it is counted again; 0: it is not new
-- -> whether there is room for it, ids of those that were dropped
local id, open, bytes = ARGV[1], ARGV[2], ARGV[3]
local life, most_open, most, most_bytes = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local now = tonumber(redis.call('TIME')[1])
local all, ended = redis.call('HGETALL', KEYS[1]), {}
local opened, count, total = open == '1' and 1 or 0, 1, tonumber(bytes)
for i = 1, #all, 2 do
  local at, runs, size = string.match(all[i + 1], '^(%d+)|(%d)|(%d+)$')
  if not at or now - tonumber(at) > life then
    redis.call('HDEL', KEYS[1], all[i])
  elseif all[i] ~= id then
    count, total = count + 1, total + tonumber(size)
    if runs == '1' then opened = opened + 1 else ended[#ended + 1] = {all[i], tonumber(at), tonumber(size)} end
  end
end
local new_life = tonumber(ARGV[8])
if new_life > 0 and opened > most_open then return {0} end
table.sort(ended, function(a, b) return a[2] < b[2] end)
local reply, i = {1}, 1
while (count > most or total > most_bytes) and ended[i] do
  count, total = count - 1, total - ended[i][3]
  redis.call('HDEL', KEYS[1], ended[i][1])
  reply[#reply + 1] = ended[i][1]
  i = i + 1
end
if total > most_bytes then return {0, unpack(reply, 2)} end
local at = new_life > 0 and now - life + new_life or now
redis.call('HSET', KEYS[1], id, string.format('%.0f', at) .. '|' .. open .. '|' .. bytes)
redis.call('PEXPIRE', KEYS[1], life * 1000)
return reply
