-- Invalidates a record (RFC 9111 §4.4): a mark takes its place, so that an answer dispatched before it is not
-- stored after it. KEYS[1] the record; ARGV: mark (a frame), TTL in ms, channel, message
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('PUBLISH', ARGV[3], ARGV[4])
return 1
