// Node's fetch: reads what to ask, and writes what was answered, one JSON a line.

import { createInterface } from "node:readline";

async function once({ url, method, parameters, headers, content }) {
  const target = new URL(url);
  if (parameters.length > 0) target.search = new URLSearchParams(parameters);
  const answer = await fetch(target, { method, headers, body: content });
  const body = Buffer.from(await answer.arrayBuffer()).toString("base64");
  return { status: answer.status, headers: [...answer.headers], body };
}

async function all(asked) {
  if (asked.at_once) return Promise.all(Array.from({ length: asked.times }, () => once(asked)));
  const answers = [];
  for (let time = 0; time < asked.times; time++) answers.push(await once(asked));
  return answers;
}

for await (const line of createInterface({ input: process.stdin })) {
  const said = await all(JSON.parse(line)).catch((error) => String(error.cause ?? error));
  process.stdout.write(`${JSON.stringify(said)}\n`);
}
