-- Credentials that the service refuses.
--
--   :refused                  zset   fingerprint -> until when nothing is asked with it
--   :refusals:<fingerprint>   string how often in a row it was refused
--   :suspected:<fingerprint>  hash   questions that were refused since the last success, up to MOST_SUSPECTED, and
--                                    the tenant who asked each last
--   :alone:<fingerprint>      string the tenant on whose evidence alone it is refused
--   :probing:<fingerprint>    string process|since: whose request finds out whether it still is
--   :onhold                   hash   fingerprint -> since when somebody withholds it by hand; has no TTL
local MOST, MOST_SUSPECTED = 1000, 16
local refused_key = q .. ':refused'
local onhold_key = q .. ':onhold'
local function suspected_key(name) return q .. ':suspected:' .. name end
local function refusals_key(name) return q .. ':refusals:' .. name end
local function alone_key(name) return q .. ':alone:' .. name end
local function probing_key(name) return q .. ':probing:' .. name end

local function breaker_pause(level, pause, longest)
  return math.min(pause * 2 ^ math.min(level - 1, STEEPEST), longest)
end

-- Lets the caller probe unless somebody does; for `longest` milliseconds, whatever becomes of Redis's clock and TTLs.
local function begin_probe(name, longest)
  local since = tonumber(string.match(call('GET', probing_key(name)) or '', '|(%d+)$'))
  if since and now - since < longest * 1000 then return false end
  call('SET', probing_key(name), me .. '|' .. int(now), 'PX', longest)
  return true
end

-- A landing's word on its credential. Those who asked before the pause began do not make it grow.
local function convict(name, pause, longest)
  local till = tonumber(call('ZSCORE', refused_key, name))
  if till and till > now then return end
  local level = call('INCR', refusals_key(name))
  call('PEXPIRE', refusals_key(name), DAY)
  local wait = breaker_pause(level, pause, longest)
  call('ZADD', refused_key, int(now + wait), name)
  call('PEXPIRE', refused_key, DAY)
  news('refused:' .. int(wait) .. ':' .. name)
end

local function acquit(name)
  call('DEL', suspected_key(name), refusals_key(name), probing_key(name), alone_key(name))
  if call('ZREM', refused_key, name) == 1 then news('accepted:' .. name) end
end

-- One question may be odd, and so may one tenant's questions: a credential is refused once two different ones were,
-- with no success between, of two tenants where two use it. Where another comes later, that one may probe at once.
local function suspect(name, question, tenant)
  local key = suspected_key(name)
  call('HSET', key, question, tenant)
  if call('HLEN', key) > MOST_SUSPECTED then call('HDEL', key, call('HKEYS', key)[1]) end
  call('PEXPIRE', key, DAY)
  for _, other in ipairs(call('HVALS', key)) do
    if other ~= tenant then
      call('DEL', alone_key(name))
      return call('HLEN', key) > 1
    end
  end
  if call('ZSCORE', refused_key, name) then return true end
  if call('HLEN', key) < 2 or not alone_in(users_key(name), tenant) then return false end
  call('SET', alone_key(name), tenant, 'PX', DAY)
  return true
end

-- Answers for how long it is refused now, in microseconds; -1 where it is not.
local function find(name, refused, question, pause, longest, tenant)
  if name == '' then return -1 end
  if refused ~= '1' then
    acquit(name)
    return -1
  end
  call('DEL', probing_key(name))
  if not suspect(name, question, tenant) then return -1 end
  convict(name, pause, longest)
  return int(math.max(0, tonumber(call('ZSCORE', refused_key, name)) - now))
end

-- By hand: withheld until resumed, whatever its landings say. Answers whether there was room.
local function hold_credential(name)
  if call('HLEN', onhold_key) >= MOST and call('HEXISTS', onhold_key, name) == 0 then return false end
  call('HSETNX', onhold_key, name, int(now))
  news('refused:-1:' .. name)
  return true
end

local function resume_credential(name)
  call('HDEL', onhold_key, name)
  call('ZREM', refused_key, name)
  call('DEL', suspected_key(name), refusals_key(name), probing_key(name), alone_key(name))
  news('resumed:' .. name)
end

-- The refused as name, microseconds left, name, … (-1: held by hand, which goes before its pause); those that
-- nobody tried for a day are forgotten.
local function refused_list()
  call('ZREMRANGEBYSCORE', refused_key, '-inf', int(now - DAY * 1000))
  local list = call('ZREVRANGE', refused_key, 0, MOST - 1, 'WITHSCORES')
  for i = 2, #list, 2 do list[i] = int(math.max(0, tonumber(list[i]) - now)) end
  for _, name in ipairs(call('HKEYS', onhold_key)) do
    list[#list + 1] = name
    list[#list + 1] = '-1'
  end
  return list
end
