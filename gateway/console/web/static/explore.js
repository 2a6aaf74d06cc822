// The Explore page's form shows what belongs to its question, and its timeline is drawn. Without this all of it is
// there all the same.

import { draw } from "./columns.js";

const form = document.getElementById("ask");
const fields = form.elements;

/** Shows a field, or hides it and leaves it out of the URL. */
function show(element, wanted) {
  element.hidden = !wanted;
  for (const each of element.querySelectorAll("input, select")) each.disabled = !wanted;
}

function arrange() {
  const family = fields.family.value;
  for (const element of form.querySelectorAll("[data-only]")) show(element, element.dataset.only.split(" ").includes(family));
  for (const element of form.querySelectorAll("[data-only] [data-only]")) {
    const wanted = element.dataset.only.split(" ").includes(family);
    show(element, wanted && (element.contains(fields.sub_item_id) ? fields.sub_item.value !== "" : true));
  }
  const dates = form.querySelector("[data-dates]");
  if (family !== "totals") show(dates, fields.window.value === "dates");
  const referral = fields.sub_item.querySelector("[value=referral]");
  referral.hidden = referral.disabled = family !== "tops";
  if (referral.selected && referral.disabled) fields.sub_item.value = "";
}

/** Offers the institutions that the chosen tenant holds credentials for. */
function offer() {
  if (fields.tenant.tagName !== "SELECT") return;
  const held = (fields.tenant.selectedOptions[0].dataset.institutions ?? "").split(" ");
  for (const option of fields.institution.options) {
    option.hidden = option.disabled = option.value !== "" && !held.includes(option.value) && !option.defaultSelected;
  }
  if (fields.institution.selectedOptions[0]?.disabled) fields.institution.value = held[0] ?? "";
}

function choose(event) {
  if (event.target.name === "tenant") {
    for (const option of fields.institution.options) option.defaultSelected = false;
    offer();
  }
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
  offer();
  arrange();
});

const table = document.getElementById("chart-data");
if (table) {
  draw(table, document.getElementById("chart"));
  table.closest("details").open = false;
}
