// A job's page: its progress moves while it runs, and what it came to takes the progress's place. Its charts are drawn.

import { draw } from "./columns.js";
import { FORMATS, NOTHING } from "./format.js";

const EVERY = 1000, PATIENCE = 5000, STEP = 0.25;
const said = document.getElementById("said"), lost = document.getElementById("lost");

let active = false, announced = 0, over = false;

// Somebody who only watches is not there: the session's idle end counts what a person does.
for (const kind of ["pointerdown", "pointermove", "keydown", "wheel", "touchstart"]) {
  addEventListener(kind, () => { active = true; }, { passive: true });
}

const job = () => document.getElementById("job");

function headers() {
  const found = { Accept: "application/json", ...(active ? { "X-Console-Active": "1" } : {}) };
  active = false;
  return found;
}

async function look() {
  const answer = await fetch(`/api/jobs/${job().dataset.job}`, { headers: headers(), signal: AbortSignal.timeout(PATIENCE) });
  if (answer.status === 401) location.reload();
  if (answer.status === 401 || answer.status === 404) over = true;
  if (!answer.ok) throw new Error((await answer.json()).message);
  const seen = await answer.json();
  const { state, planned } = job().dataset;
  if (seen.state === state && (planned !== undefined || !seen.plan)) return show(seen);
  await renew();
  if (seen.state !== state) put(said, `The job is ${seen.state}.`);
}

/** Shows how far the job is; every quarter is read out. */
function show(seen) {
  const rate = seen.elapsed ? seen.calls / seen.elapsed : 0;
  const values = { ...seen, rate, seconds: seen.seconds || null };
  for (const element of document.querySelectorAll("[data-show]")) {
    const value = values[element.dataset.show];
    put(element, value === null ? NOTHING : FORMATS[element.dataset.as](value));
  }
  const whole = seen.calls + seen.left;
  if (!whole) return;
  const share = seen.calls / whole;
  document.querySelector("progress").value = share;
  if (share < announced + STEP) return;
  announced = Math.floor(share / STEP) * STEP;
  put(said, `${FORMATS.count(seen.calls)} calls are made, and at most ${FORMATS.count(seen.left)} are to come.`);
}

/** The page as it is now, in the place of what it was. */
async function renew() {
  const answer = await fetch(`${location.pathname}?again=1`, { headers: { Accept: "text/html" } });
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const next = page.getElementById("job");
  if (!next) return location.reload();
  const focused = job().contains(document.activeElement);
  job().replaceWith(next);
  decorate();
  if (focused) document.getElementById("main").focus();
}

function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

async function watch() {
  try {
    await look();
    lost.hidden = true;
  } catch (error) {
    put(lost, `How far the job is cannot be known now: ${error.message}`);
    lost.hidden = false;
  }
  if (!over && job().dataset.state === "running") setTimeout(watch, EVERY);
}

function decorate() {
  for (const place of document.querySelectorAll(".columns-chart")) {
    const table = document.getElementById(`${place.id}-data`);
    draw(table, place);
    table.closest("details").open = false;
  }
}

decorate();
if (job().dataset.state === "running") setTimeout(watch, EVERY);
