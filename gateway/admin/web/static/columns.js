// Columns: a timeline out of a table's rows, as SVG, whose values are read by pointer, touch and keys.

const SVG = "http://www.w3.org/2000/svg";
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const HEIGHT = 240, TOP = 10, BOTTOM = 24, LABEL = 52, WIDEST = 56;
const STEPS = [1, 2, 3, 5, 7, 10, 14, 20, 50, 100, 200, 500, 1000];

/** Draws the rows of `table` into `place`, and again whenever its width changes. */
export function draw(table, place) {
  const rows = [...table.tBodies[0].rows].map((row) => ({
    name: row.cells[0].textContent, value: Number(row.querySelector("[data-value]").dataset.value),
  }));
  if (!rows.length) return;
  new Columns(rows, place).show();
}

class Columns {
  constructor(rows, place) {
    this.rows = rows;
    this.place = place;
    this.unit = place.dataset.unit;
    this.peak = rows.reduce((best, row, at) => (row.value > rows[best].value ? at : best), 0);
    this.picked = null;
  }

  show() {
    const { place } = this;
    this.readout = html("p", { class: "readout" });
    this.plot = html("div", {
      class: "plot", tabindex: "0", role: "slider", "aria-label": `${this.unit}, bucket by bucket`,
      "aria-orientation": "horizontal", "aria-valuemin": "1", "aria-valuemax": String(this.rows.length),
    });
    place.replaceChildren(this.readout, this.plot);
    place.hidden = false;
    this.plot.addEventListener("keydown", (event) => this.key(event));
    this.plot.addEventListener("focus", () => this.pick(this.picked ?? this.peak));
    this.plot.addEventListener("blur", () => this.pick(null));
    for (const kind of ["pointermove", "pointerdown"]) this.plot.addEventListener(kind, (event) => this.point(event));
    this.plot.addEventListener("pointerleave", () => { if (document.activeElement !== this.plot) this.pick(null); });
    new ResizeObserver(() => this.paint()).observe(place);
    this.paint();
  }

  paint() {
    const width = Math.floor(this.place.clientWidth);
    if (!width || width === this.width) return;
    this.width = width;
    const most = Math.max(...this.rows.map((row) => row.value), 0);
    const ticks = scale(most);
    const top = ticks.at(-1);
    const left = Math.max(...ticks.map((tick) => written(tick).length)) * 6.5 + 10;
    const slot = this.slot = (width - left) / this.rows.length;
    this.left = left;
    this.high = (value) => (HEIGHT - BOTTOM - TOP) * (Math.max(0, value) / top);
    const svg = node("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, height: HEIGHT, "aria-hidden": "true", focusable: "false" });
    this.spot = svg.appendChild(node("rect", { class: "spot", y: TOP, height: HEIGHT - BOTTOM - TOP, width: 0 }));
    for (const tick of ticks) {
      const y = Math.round(HEIGHT - BOTTOM - this.high(tick)) + 0.5;
      svg.append(node("line", { class: tick ? "grid" : "base", x1: left, x2: width, y1: y, y2: y }));
      svg.append(node("text", { x: left - 8, y: y + 3.5, "text-anchor": "end" }, written(tick)));
    }
    const gap = slot > 8 ? slot * 0.22 : slot > 3 ? 1 : 0;
    const wide = Math.min(WIDEST, slot - gap);
    this.columns = this.rows.map((row, at) => svg.appendChild(node("rect", {
      class: "column", x: left + at * slot + (slot - wide) / 2, width: wide,
      y: HEIGHT - BOTTOM - this.high(row.value), height: this.high(row.value),
    })));
    for (const { at, text } of labels(this.rows.map((row) => row.name), slot)) {
      const x = Math.min(width - 18, left + (at + 0.5) * slot);
      svg.append(node("text", { x, y: HEIGHT - 6, "text-anchor": "middle" }, text));
    }
    this.plot.replaceChildren(svg);
    this.pick(this.picked);
  }

  point(event) {
    const x = event.clientX - this.plot.getBoundingClientRect().left - this.left;
    const at = Math.floor(x / this.slot);
    if (at >= 0 && at < this.rows.length) this.pick(at);
  }

  key(event) {
    const far = Math.max(2, Math.round(this.rows.length / 10)), at = this.picked ?? this.peak;
    const to = {
      ArrowLeft: at - 1, ArrowDown: at - 1, ArrowRight: at + 1, ArrowUp: at + 1,
      PageDown: at - far, PageUp: at + far, Home: 0, End: this.rows.length - 1,
    }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    this.pick(Math.min(this.rows.length - 1, Math.max(0, to)));
  }

  /** Shows one bucket's value; of none the peak. */
  pick(at) {
    if (this.picked !== null) this.columns[this.picked].setAttribute("class", "column");
    this.picked = at;
    const { name, value } = this.rows[at ?? this.peak];
    const parts = [html("strong", {}, written(value)), html("span", {}, `${this.unit} in ${name}${at === null ? ", the most" : ""}`)];
    this.readout.replaceChildren(...parts);
    this.plot.setAttribute("aria-valuenow", String((at ?? this.peak) + 1));
    this.plot.setAttribute("aria-valuetext", `${name}: ${written(value)} ${this.unit}`);
    this.spot.setAttribute("width", at === null ? 0 : Math.max(1, this.slot));
    if (at === null) return;
    this.spot.setAttribute("x", this.left + at * this.slot);
    this.columns[at].setAttribute("class", "column picked");
  }
}

/** Round steps from zero to the first that is not below `most`; whole numbers, for events are. */
function scale(most) {
  if (most <= 0) return [0, 1];
  const rough = most / 4, power = 10 ** Math.floor(Math.log10(rough));
  const step = Math.max(1, [1, 2, 2.5, 5, 10].map((each) => each * power).find((each) => each >= rough && (each >= 1 ? Number.isInteger(each) : true)));
  const ticks = [0];
  while (ticks.at(-1) < most) ticks.push(ticks.at(-1) + step);
  return ticks;
}

/** Which buckets are named below, so that no name touches another: days by the month or year where they are many. */
function labels(names, slot) {
  const found = (test, text) => names.flatMap((name, at) => (test(name, at) ? [{ at, text: text(name) }] : []));
  const candidates = [];
  const each = (text) => STEPS.map((step) => found((_, at) => at % step === 0, text));
  if (names.every((name) => /^\d{4}-\d\d-\d\d$/.test(name))) {
    const month = (name) => (name.slice(5, 7) === "01" ? name.slice(0, 4) : MONTHS[name.slice(5, 7) - 1]);
    candidates.push(...each((name) => `${Number(name.slice(8))} ${MONTHS[name.slice(5, 7) - 1]}`).slice(0, names.length > 62 ? 0 : 6));
    for (const every of [1, 3, 6]) candidates.push(found((name) => name.endsWith("-01") && (name.slice(5, 7) - 1) % every === 0, month));
    for (const every of [1, 2, 5, 10]) candidates.push(found((name) => name.endsWith("-01-01") && name.slice(0, 4) % every === 0, (name) => name.slice(0, 4)));
  } else if (names.every((name) => /^\d{4}-\d\d$/.test(name))) {
    const month = (name) => (name.endsWith("-01") ? name.slice(0, 4) : MONTHS[name.slice(5) - 1]);
    for (const every of [1, 2, 3, 6]) candidates.push(found((name) => (name.slice(5) - 1) % every === 0, month));
    for (const every of [1, 2, 5, 10]) candidates.push(found((name) => name.endsWith("-01") && name.slice(0, 4) % every === 0, (name) => name.slice(0, 4)));
  } else {
    candidates.push(...each((name) => (name.length > 10 ? `${name.slice(0, 9)}…` : name)));
  }
  const roomy = (ticks) => ticks.every((tick, at) => at === 0 || (tick.at - ticks[at - 1].at) * slot >= LABEL);
  const enough = (ticks) => ticks.length > 1 || names.length < 2;
  return candidates.find((ticks) => enough(ticks) && roomy(ticks)) ?? [{ at: 0, text: names[0] }];
}

function written(number) {
  return number.toLocaleString("en", { maximumFractionDigits: 2 });
}

function node(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

function html(name, attributes, text) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}
