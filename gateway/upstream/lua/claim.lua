-- Claims the next queued call, where the caller holds it and the budget allows.
-- ARGV: process, token, interval, burst  -> claimed … | wait microseconds | idle; and last, the gate's word
local token, interval, burst = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local PATIENCE = 500000
local OWN = 16

local id, band = head(interval, burst)
if not id then return {'idle', gate_word()} end
local wait = turn_wait(band, interval, burst)
if wait > 0 then
  if mine(id) then return {'wait', wait, gate_word()} end
  announce(interval, burst)
  return {'idle', gate_word()}
end
if mine(id) then return dispatch(id, token, interval, burst) end

-- Somebody else's turn. Were they stalled, the budget would go to waste: after a while another may step in.
local turn = call('GET', q .. ':turn') or ''
local of, since = string.match(turn, '^(.*)|(%d+)$')
if of ~= id then
  call('SET', q .. ':turn', id .. '|' .. int(now), 'PX', DAY)
elseif now - tonumber(since) > PATIENCE then
  local own = first(BANDS, OWN, function(each, theirs)
    return mine(each) and may_probe(caller_of(each)) and turn_wait(theirs, interval, burst) == 0
  end)
  if own then return dispatch(own, token, interval, burst) end
end
announce(interval, burst)
return {'wait', PATIENCE, 0}
