// The Explore page's form shows what belongs to its question, and its timeline is drawn. Without this all of it is
// there all the same.

import { draw } from "./columns.js";
import { offer } from "./offer.js";

const form = document.getElementById("ask");
const fields = form.elements;

/** Shows a field, or hides it and leaves it out of the URL. */
function show(element, wanted) {
  element.hidden = !wanted;
  for (const each of element.querySelectorAll("input, select")) each.disabled = !wanted;
}

function arrange() {
  const family = fields.family.value;
  const referral = fields.sub_item.querySelector("[value=referral]");
  referral.hidden = referral.disabled = family !== "tops";
  if (fields.sub_item.value === "referral" && referral.disabled) fields.sub_item.value = "";
  for (const element of form.querySelectorAll("[data-only]")) {
    const belongs = element.dataset.only.split(" ").includes(family);
    const idle = element.contains(fields.sub_item_id) && !element.contains(fields.sub_item) && fields.sub_item.value === "";
    const undated = "dates" in element.dataset && fields.window.value !== "dates";
    show(element, belongs && !idle && !undated);
  }
}

function choose(event) {
  if (event.target.name === "tenant") offer(fields);
  arrange();
}

/** A short URL: what is empty says nothing. */
function shorten() {
  for (const each of form.querySelectorAll("input, select")) if (each.value === "") each.disabled = true;
}

form.addEventListener("change", choose);
form.addEventListener("submit", shorten);
// A page that comes back from the browser's memory has its fields as they were sent.
window.addEventListener("pageshow", () => {
  for (const each of form.querySelectorAll("input, select")) each.disabled = false;
  offer(fields, fields.institution.value);
  arrange();
});

const table = document.getElementById("chart-data");
if (table) {
  draw(table, document.getElementById("chart"));
  table.closest("details").open = false;
}
