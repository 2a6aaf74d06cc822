-- Somebody holds or resumes by hand: the gate, or a credential.
-- ARGV: process, hold | resume, gate | credential, fingerprint, interval, burst
-- -> done own-wait | full; and last, the gate's word
local gates, name = ARGV[3] == 'gate', ARGV[4]
if ARGV[2] == 'hold' then
  if gates then
    hold_gate()
  elseif not hold_credential(name) then
    return {'full', -1, gate_word()}
  end
  return {'done', -1, gate_word()}
end
if gates then resume_gate() else resume_credential(name) end
return {'done', announce(tonumber(ARGV[5]), tonumber(ARGV[6])), gate_word()}
