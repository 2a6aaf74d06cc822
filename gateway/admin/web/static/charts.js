// Charts over time as inline SVG: bars on top of each other, or a line; a limit across; a cursor that all share.

const SVG = "http://www.w3.org/2000/svg";
const LEFT = 38, RIGHT = 4, TOP = 8, BOTTOM = 20;

/** An SVG element with these attributes, in a parent. */
function add(parent, name, attributes, text) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  parent.append(element);
  return element;
}

/** A round number that is not below ``most``, and into how many even parts it is cut. */
export function roundUp(most) {
  const power = 10 ** Math.floor(Math.log10(Math.max(most, 1)));
  for (const [top, parts] of [[1, 2], [2, 2], [3, 3], [4, 2], [5, 5], [6, 3], [8, 2], [10, 2]]) {
    if (top * power >= most) return top * power >= parts ? [top * power, parts] : [parts, parts];
  }
  return [10 * power, 2];
}

/**
 * One chart in a figure. ``series`` are {name, kind} of bars, stacked in this order from below; or with ``line`` the one
 * name whose values, from 0 to 1 or null, are drawn as a line. ``label(rows)`` says in words what it shows.
 */
export class TimeChart {
  constructor(figure, { series = [], line = null, height = 150, label, format, onMove }) {
    Object.assign(this, { figure, series, line, height, label, format, onMove });
    this.rows = [];
    this.limit = null;
    this.at = null;
    this.svg = add(figure, "svg", { role: "img", tabindex: "0", height });
    this.svg.addEventListener("pointermove", (event) => this.onMove(this.indexAt(event)));
    this.svg.addEventListener("pointerleave", () => this.onMove(null));
    this.svg.addEventListener("blur", () => this.onMove(null));
    this.svg.addEventListener("keydown", (event) => this.step(event));
    new ResizeObserver(() => this.draw()).observe(figure);
  }

  /** Shows other rows, with a limit across or none. */
  show(rows, limit = null) {
    this.rows = rows;
    this.limit = limit;
    this.draw();
  }

  /** Puts the cursor on a row, or nowhere. */
  point(index) {
    this.at = index;
    this.drawCursor();
  }

  step(event) {
    const last = this.rows.length - 1;
    const from = this.at ?? (event.key === "ArrowRight" ? -1 : last + 1);
    const to = { ArrowLeft: from - 1, ArrowRight: from + 1, Home: 0, End: last, Escape: null }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    this.onMove(to === null ? null : Math.min(last, Math.max(0, to)));
  }

  indexAt(event) {
    const box = this.svg.getBoundingClientRect();
    const index = Math.floor((event.clientX - box.left - LEFT) / this.pitch);
    return index >= 0 && index < this.rows.length ? index : null;
  }

  get width() { return Math.max(200, this.figure.clientWidth); }
  get pitch() { return (this.width - LEFT - RIGHT) / Math.max(1, this.rows.length); }
  y(value) { return TOP + (this.height - TOP - BOTTOM) * (1 - value / this.top); }
  middle(index) { return LEFT + this.pitch * (index + 0.5); }

  draw() {
    if (!this.rows.length || !this.figure.clientWidth) return;
    const most = Math.max(...this.rows.map((row) => this.series.reduce((sum, { name }) => sum + row[name], 0)), 0);
    [this.top, this.parts] = this.line ? [1, 2] : roundUp(Math.max(most, this.limit ?? 0, 2));
    this.svg.setAttribute("viewBox", `0 0 ${this.width} ${this.height}`);
    this.svg.setAttribute("aria-label", this.label(this.rows));
    const fresh = document.createElementNS(SVG, "g");
    this.drawAxes(fresh);
    if (this.line) this.drawLine(fresh); else this.drawBars(fresh);
    if (this.limit !== null) this.drawLimit(fresh);
    this.svg.replaceChildren(fresh);
    this.drawCursor();
  }

  drawAxes(to) {
    for (let part = 0; part <= this.parts; part++) {
      const value = (this.top * part) / this.parts, y = Math.round(this.y(value)) + 0.5;
      add(to, "line", { class: "grid", x1: LEFT, x2: this.width - RIGHT, y1: y, y2: y });
      add(to, "text", { x: LEFT - 6, y: y + 3.5, "text-anchor": "end" }, this.format(value));
    }
    const every = this.width < 420 ? 30 : 15;
    this.rows.forEach((row, index) => {
      const time = row.at.slice(11, 16);
      if (Number(time.slice(3)) % every) return;
      const x = Math.min(Math.max(this.middle(index), LEFT + 12), this.width - RIGHT - 14);
      add(to, "text", { x, y: this.height - 4, "text-anchor": "middle" }, time);
    });
  }

  drawBars(to) {
    const gap = this.pitch > 6 ? 2 : 1, width = Math.max(1, this.pitch - gap);
    this.rows.forEach((row, index) => {
      let from = 0;
      for (const { name, kind } of this.series) {
        if (!row[name]) continue;
        const low = this.y(from), high = this.y(from + row[name]);
        const height = Math.max(1, low - high);
        add(to, "rect", { class: kind, x: this.middle(index) - width / 2, y: low - height, width, height });
        from += row[name];
      }
    });
  }

  drawLine(to) {
    let path = "", area = "", open = null;
    const close = (index) => {
      if (open !== null) area += `L${this.middle(index)} ${this.y(0)}L${this.middle(open)} ${this.y(0)}Z`;
      open = null;
    };
    this.rows.forEach((row, index) => {
      const value = row[this.line];
      if (value === null) return close(index - 1);
      const at = `${open === null ? "M" : "L"}${this.middle(index)} ${this.y(value)}`;
      path += at;
      area += at;
      open ??= index;
      const alone = (this.rows[index - 1]?.[this.line] ?? null) === null && (this.rows[index + 1]?.[this.line] ?? null) === null;
      if (alone) add(to, "circle", { class: "hit", cx: this.middle(index), cy: this.y(value), r: 2 });
      return undefined;
    });
    close(this.rows.length - 1);
    add(to, "path", { class: "area", d: area });
    add(to, "path", { class: "line", d: path });
  }

  drawLimit(to) {
    const y = Math.round(this.y(this.limit)) + 0.5;
    add(to, "line", { class: "limit", x1: LEFT, x2: this.width - RIGHT, y1: y, y2: y });
    add(to, "text", { class: "limit-label", x: this.width - RIGHT, y: y - 5, "text-anchor": "end" }, "budget");
  }

  drawCursor() {
    this.svg.querySelector(".cursor")?.remove();
    if (this.at === null || this.at >= this.rows.length) return;
    const x = this.middle(this.at);
    add(this.svg, "line", { class: "cursor", x1: x, x2: x, y1: TOP, y2: this.height - BOTTOM });
  }
}

/** In a table's cell: dots at three durations on a scale of powers of ten from 0.1 ms to 100 s. */
export function drawSpan(svg, { p50, p95, p99 }) {
  const width = 120, height = 14, from = -4, to = 2;
  const x = (value) => 3 + ((Math.log10(Math.max(value, 1e-4)) - from) / (to - from)) * (width - 6);
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const fresh = document.createElementNS(SVG, "g");
  for (let power = from; power <= to; power++) {
    const at = x(10 ** power);
    add(fresh, "line", { class: "grid", x1: at, x2: at, y1: 1, y2: height - 1 });
  }
  add(fresh, "line", { class: "reach", x1: x(p50), x2: x(p99), y1: height / 2, y2: height / 2 });
  for (const [value, r] of [[p99, 2], [p95, 2.5], [p50, 3.5]]) add(fresh, "circle", { class: "hit", cx: x(value), cy: height / 2, r });
  svg.replaceChildren(fresh);
}
