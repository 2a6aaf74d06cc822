-- Invalidates a record (RFC 9111 §4.4): what was dispatched before goes, and a mark in its place keeps out what was under
-- way. What was dispatched since stays, and so does a later mark: the news may come late. KEYS[1] the record; ARGV: mark
-- (a frame, as in put.lua), TTL in ms, channel, channel that also tells since when, the latest stamp that counts
local record, mark, latest = redis.call('GET', KEYS[1]) or '', ARGV[1], ARGV[5]
local since, frames, at = string.sub(mark, 33, 48), {}, 1
while at <= #record do
  local length = tonumber(string.sub(record, at + 24, at + 31))
  if not length then break end
  local stamp = string.sub(record, at + 32, at + 47)
  if stamp > since and stamp <= latest then
    frames[#frames + 1] = string.sub(record, at, at + 31 + length)
    if string.sub(record, at, at) == '!' then mark = '' end
  end
  at = at + 32 + length
end
local ttl = tonumber(ARGV[2])
if #frames > 0 then ttl = math.max(ttl, redis.call('PTTL', KEYS[1])) end
redis.call('SET', KEYS[1], table.concat(frames) .. mark, 'PX', string.format('%.0f', ttl))
redis.call('PUBLISH', ARGV[3], KEYS[1])
redis.call('PUBLISH', ARGV[4], since .. KEYS[1])
return 1
