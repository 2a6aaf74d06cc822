// How numbers and times read; the same as the server's (web/format.py), which writes the first ones.

export const NOTHING = "–";

const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0, roundingMode: "halfEven" });

/** A whole number with its thousands apart: 12,345. */
export const count = (number) => whole.format(number);

/** Something a second: 0.02, 1.4, 120. */
export const rate = (number) =>
  number > 0 && number < 0.0995 ? number.toFixed(2) : number < 99.95 ? number.toFixed(1) : count(number);

/** A ratio of 0 to 1: 98.4 %. What is not all is never said to be all. */
export function percent(ratio) {
  if (ratio <= 0 || ratio >= 1) return `${Math.round(ratio * 100)} %`;
  const tenths = ratio > 0.5 ? Math.floor(ratio * 1000) : Math.round(ratio * 1000);
  return `${(tenths / 10).toFixed(1)} %`;
}

/** How long a request took, to two or three digits: 0.4 ms, 23 ms, 1.20 s. */
export function seconds(duration) {
  if (duration < 0.0995) return `${(duration * 1000).toFixed(duration < 0.00995 ? 1 : 0)} ms`;
  if (duration < 0.9995) return `${(duration * 1000).toFixed(0)} ms`;
  return `${duration.toFixed(duration < 9.995 ? 2 : 0)} s`;
}

/** A length of time in its two largest units: 6 d 23 h, 14 min 3 s, 0 s. */
export function span(length) {
  let left = Math.trunc(Math.abs(length));
  const parts = [];
  for (const [name, size] of [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]]) {
    if (left >= size) parts.push(`${Math.floor(left / size)} ${name}`);
    left %= size;
  }
  return parts.slice(0, 2).join(" ") || "0 s";
}

/** The time of day of what JSON tells as 2030-01-31T12:34:56Z. */
export const clock = (moment) => moment.slice(11, 19);

export const word = (text) => String(text);

/** Whether Redis answers, from its status. */
export const answering = (status) => (status === "ok" ? "answers" : "does not answer");

export const FORMATS = { count, rate, percent, seconds, span, clock, word, answering };
