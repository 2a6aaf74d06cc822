-- Invalidates a record (RFC 9111 §4.4): what was dispatched before goes, and a mark in its place keeps out what was under
-- way. It does so as of now, by the later of the caller's time and Redis's own: the caller's may be behind that of whoever
-- dispatched an answer. Or, where it comes late, as of then: what was dispatched since stays, and so does a later mark.
-- KEYS[1] the record; ARGV: mark (a frame, as in put.lua), TTL in ms, channel, channel that also tells since when, the
-- latest stamp that counts, and unless it comes late, the skew that the caller knows (moment.lua)   -> since when
local record, since, latest = redis.call('GET', KEYS[1]) or '', string.sub(ARGV[1], 33, 48), ARGV[5]
if ARGV[6] then
  local time = redis.call('TIME')
  local ahead = time[1] * 1000000 + time[2] + ARGV[6] - since
  if ahead > 0 and ahead <= 1500000 then since = string.format('%016.0f', since + ahead) end
end
local mark, frames, at = string.sub(ARGV[1], 1, 32) .. since, {}, 1
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
return since
