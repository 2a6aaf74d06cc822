// What the first page makes of the overview that the API tells; the same as the server's (web/overview.py, summarise).

const CACHED = ["hit", "stale"];
const CALLED = ["miss", "collapsed", "revalidated", "bypass"];
const LOST = ["refused", "failed"];
const REASONS = {
  refused: "several queries in a row were refused",
  reset: "several connections in a row broke off",
  limited: "it asked for fewer requests (429)",
};
const QUEUE = "/queue", CREDENTIALS = "/queue#not-used";
export const OUTCOMES = [...CACHED, ...CALLED, ...LOST];

/** Sums and sentences, beside what was told. */
export function glance(told) {
  const minutes = told.minutes.map(minute);
  const hour = {};
  for (const name of ["requests", "cached", "called", "lost", "calls"]) {
    hour[name] = minutes.reduce((sum, each) => sum + each[name], 0);
  }
  const last = minutes.length > 1 ? minutes[minutes.length - 2] : hour;
  const perSecond = told.budget.per_second;
  return {
    ...told,
    minutes,
    hour: { ...hour, ratio: ratio(hour) },
    rate: last.requests / 60,
    spared: share(told.today.saved, told.today.requests),
    allowed: perSecond === null ? null : perSecond * 60,
    latency: Object.fromEntries(OUTCOMES.map((name) => [name, told.latency[name] ?? null])),
    troubles: troubles(told),
  };
}

function troubles(told) {
  const found = [];
  const note = (kind, text, link = "") => found.push({ kind, text, link });
  if (told.redis.status !== "ok") {
    note("bad", "Redis does not answer. Each process goes on alone; this is what one of them knows.");
  }
  if (told.differing.length) {
    const names = told.differing.join(", ");
    note("bad", `Not all processes on this Redis have the same ${names}. The lowest budget holds for all.`);
  }
  if (told.gate.state === "closed") {
    const why = REASONS[told.gate.why] ? `: ${REASONS[told.gate.why]}` : "";
    note("bad", `The service seems to block us${why}. It is asked nothing for another ${Math.ceil(told.gate.closed_for)} s.`, QUEUE);
  } else if (told.gate.state === "half-open") {
    note("warn", "The service seemed to block us. One request finds out whether it still does.", QUEUE);
  } else if (told.gate.state === "held") {
    note("warn", "The gate is held by hand. The service is asked nothing until it is resumed.", QUEUE);
  }
  for (const each of told.refused) note("warn", notUsed(each), CREDENTIALS);
  const more = told.refused_credentials - told.refused.length;
  if (more) note("warn", `${more === 1 ? "One more credential is" : `${more} more credentials are`} not used.`, CREDENTIALS);
  const targets = told.refused_targets;
  const queries = targets === 1 ? "One query is" : `${targets} queries are`;
  if (targets) note("warn", `${queries} not asked for now: the service refused this alone.`, QUEUE);
  if (told.processes > told.fleet_size) {
    const text = `fleet_size is ${told.fleet_size}, but there are ${told.processes} processes.`;
    note("warn", `${text} Without Redis they would ask the service too fast.`);
  }
  return found;
}

function notUsed(refused) {
  const credential = whose(refused);
  if (refused.held_for !== null) {
    return `An operator holds the credential for ${credential}. It is not used until it is resumed.`;
  }
  const left = Math.ceil(refused.left);
  const when = left ? `for another ${left} s` : "until a question of its tenants is answered";
  return `The service refuses the credential for ${credential}. It is not used ${when}.`;
}

function whose({ institution, tenants, tenants_total: total, fingerprint }) {
  if (!institution) return `${fingerprint.slice(0, 8)} (of no tenant any more)`;
  const shown = tenants.slice(0, 3);
  return `${institution} (${[...shown, ...(total > shown.length ? [`${total - shown.length} more`] : [])].join(", ")})`;
}

function minute(told) {
  const sum = (group) => group.reduce((total, name) => total + (told.outcomes[name] ?? 0), 0);
  const found = { at: told.at, requests: told.requests, calls: told.calls };
  Object.assign(found, { cached: sum(CACHED), called: sum(CALLED), lost: sum(LOST) });
  return { ...found, ratio: ratio(found) };
}

const ratio = (counts) => share(counts.cached, counts.cached + counts.called);
const share = (part, whole) => (whole ? part / whole : null);
