-- Stores one frame of a record: an entry's variant, or an error record. An answer that came late never replaces
-- one that was dispatched after it, nor what was invalidated since: the mark of that stays beside any number of
-- variants. KEYS[1] the record; ARGV: frame, TTL in ms, the latest stamp that counts: one beyond it is of a clock
-- that was wrong.
-- A frame is: variant (24) · length of the rest (8 digits) · stamp of dispatch (16 digits) · …   -> 1 stored, 0 not
local MOST, MARK = 16, '!'
local record, frame = redis.call('GET', KEYS[1]) or '', ARGV[1]
local variant, stamp, latest = string.sub(frame, 1, 24), string.sub(frame, 33, 48), ARGV[3]
local frames, at = {frame}, 1
while at <= #record do
  local length = tonumber(string.sub(record, at + 24, at + 31))
  if not length then break end
  local there, since = string.sub(record, at, at + 23), string.sub(record, at + 32, at + 47)
  local mark = string.sub(there, 1, 1) == MARK
  if (mark or there == variant) and since > stamp and since <= latest then return 0 end
  if mark or (there ~= variant and #frames < MOST) then
    frames[#frames + 1] = string.sub(record, at, at + 31 + length)
  end
  at = at + 32 + length
end
local ttl = math.max(tonumber(ARGV[2]), redis.call('PTTL', KEYS[1]))
redis.call('SET', KEYS[1], table.concat(frames), 'PX', string.format('%.0f', ttl))
return 1
