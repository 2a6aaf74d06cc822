// The first page, live: asks the gateway every two seconds while somebody may be looking, and says so when it is gone.

import { TimeChart, drawSpan } from "./charts.js";
import { FORMATS, NOTHING, clock, count, percent } from "./format.js";
import { OUTCOMES, glance } from "./glance.js";

const EVERY = 2000, PATIENCE = 5000;
const page = document.getElementById("live");
const lost = document.getElementById("lost");
const readout = document.getElementById("readout");
const csrf = document.querySelector("meta[name=csrf-token]").content;

let seen = null, timer = null, asking = false, active = false, since = null, over = false, pointed = null;

// Somebody who only watches is not there: the session's idle end counts what a person does.
for (const kind of ["pointerdown", "pointermove", "keydown", "wheel", "touchstart"]) {
  addEventListener(kind, () => { active = true; }, { passive: true });
}

const charts = {
  requests: new TimeChart(figure("requests"), {
    series: [{ name: "cached", kind: "hit" }, { name: "called", kind: "call" }, { name: "lost", kind: "lost" }],
    height: 170, format: short, onMove: point,
    label: () => `${count(seen.hour.requests)} requests in the last hour, minute by minute; the table below has them all.`,
  }),
  ratio: new TimeChart(figure("ratio"), {
    line: "ratio", height: 84, format: (share) => `${share * 100} %`, onMove: point,
    label: () => `${seen.hour.ratio === null ? NOTHING : percent(seen.hour.ratio)} of what was answered in the last hour came from the cache.`,
  }),
  calls: new TimeChart(figure("calls"), {
    series: [{ name: "calls", kind: "call" }],
    height: 170, format: short, onMove: point,
    label: () => `${count(seen.hour.calls)} upstream calls in the last hour` +
      (seen.allowed === null ? "." : `; the budget allows ${count(seen.allowed)} a minute.`),
  }),
};

function figure(name) {
  return page.querySelector(`[data-chart=${name}]`);
}

function short(value) {
  return value >= 1e6 ? `${value / 1e6}M` : value >= 1e4 ? `${value / 1e3}k` : count(value);
}

function show(told) {
  seen = glance(told);
  for (const element of page.querySelectorAll("[data-show]")) {
    const value = element.dataset.show.split(".").reduce((found, name) => found?.[name], seen) ?? null;
    put(element, value === null ? NOTHING : FORMATS[element.dataset.as](value));
  }
  charts.requests.show(seen.minutes);
  charts.ratio.show(seen.minutes);
  charts.calls.show(seen.minutes, seen.allowed);
  showTroubles();
  showMinutes();
  for (const outcome of OUTCOMES) showLatency(outcome);
  document.getElementById("no-latency").hidden = seen.hour.requests > 0;
  showReadout();
}

/** Only what changed is touched, so that nothing flickers and nothing is read out twice. */
function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function showTroubles() {
  const list = document.getElementById("troubles");
  const wanted = seen.troubles.length ? seen.troubles : [{ kind: "", text: "All is well." }];
  while (list.children.length > wanted.length) list.lastElementChild.remove();
  wanted.forEach(({ kind, text, link }, index) => {
    const item = list.children[index] ?? list.appendChild(document.createElement("li"));
    item.className = `state ${kind}`.trim();
    put(linked(item, link), text);
  });
}

/** The element for an item's text: the item itself, or the link in it. */
function linked(item, link) {
  let anchor = item.querySelector("a");
  if (!link) {
    anchor?.remove();
    return item;
  }
  if (!anchor) {
    anchor = document.createElement("a");
    item.replaceChildren(anchor);
  }
  if (anchor.getAttribute("href") !== link) anchor.href = link;
  return anchor;
}

function showMinutes() {
  const rows = document.getElementById("minutes").tBodies[0].rows;
  [...seen.minutes].reverse().forEach((each, index) => {
    const cells = rows[index]?.cells;
    if (!cells) return;
    const texts = [each.at.slice(11, 16), ...["requests", "cached", "called", "lost"].map((name) => count(each[name])),
      each.ratio === null ? NOTHING : percent(each.ratio), count(each.calls)];
    texts.forEach((text, column) => put(cells[column], text));
  });
}

function showLatency(outcome) {
  const row = page.querySelector(`[data-outcome=${outcome}]`);
  const latency = seen.latency[outcome];
  row.hidden = latency === null;
  if (latency !== null) drawSpan(row.querySelector("svg"), latency);
}

function point(index) {
  pointed = index;
  for (const chart of Object.values(charts)) chart.point(index);
  showReadout();
}

function showReadout() {
  const each = pointed === null ? null : seen?.minutes[pointed];
  put(readout, !each ? "" : [
    `${each.at.slice(11, 16)} UTC`, `${count(each.requests)} requests`,
    `${count(each.cached)} from the cache${each.ratio === null ? "" : ` (${percent(each.ratio)})`}`,
    `${count(each.called)} with a call`, `${count(each.lost)} refused or failed`, `${count(each.calls)} calls`,
  ].join(" · "));
}

async function ask() {
  if (asking || over) return;
  asking = true;
  const headers = { "X-CSRF-Token": csrf, ...(active ? { "X-Console-Active": "1" } : {}) };
  active = false;
  try {
    const response = await fetch("/api/overview", { headers, cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
    if (response.status === 401) return signedOut();
    if (!response.ok) throw new Error(`status ${response.status}`);
    show(await response.json());
    found();
  } catch {
    missed();
  } finally {
    asking = false;
  }
  return undefined;
}

function found() {
  since = null;
  lost.hidden = true;
  page.classList.remove("stale");
}

function missed() {
  if (document.hidden || over) return;
  since ??= new Date().toISOString();
  lost.hidden = false;
  put(lost, `The gateway is not reachable since ${clock(since)} UTC. These are the last numbers; it is asked again and again.`);
  page.classList.add("stale");
}

function signedOut() {
  over = true;
  lost.hidden = false;
  page.classList.add("stale");
  const link = document.createElement("a");
  link.href = "/sign-in";
  link.textContent = "Sign in again";
  lost.replaceChildren("Your session has ended. ", link, ".");
}

async function go() {
  clearTimeout(timer);
  if (document.hidden) return;
  await ask();
  clearTimeout(timer);
  if (!document.hidden && !over) timer = setTimeout(go, EVERY);
}

document.addEventListener("visibilitychange", go);
addEventListener("pagehide", () => { over = true; });
addEventListener("pageshow", (event) => {
  if (!event.persisted) return;
  over = false;
  go();
});
go();
