// The form that orders a report shows what belongs to its choices. Without this all of it is there all the same.

import { offer } from "./offer.js";

const form = document.getElementById("order");
const fields = form?.elements;
const confirm = document.getElementById("confirm");

function show(element, wanted) {
  element.hidden = !wanted;
  for (const each of element.querySelectorAll("input, textarea")) each.disabled = !wanted;
}

function arrange() {
  show(form.querySelector("[data-which]"), fields.which.value === "list");
  show(form.querySelector("[data-dates]"), fields.window.value === "dates");
}

form?.addEventListener("change", (event) => {
  if (event.target.name === "tenant") offer(fields);
  arrange();
});
// Who clicks twice orders once.
confirm?.addEventListener("submit", () => { confirm.querySelector("button").disabled = true; });
// A page that comes back from the browser's memory has its fields as they were sent.
window.addEventListener("pageshow", () => {
  if (confirm) confirm.querySelector("button").disabled = false;
  if (!form) return;
  offer(fields, fields.institution.value);
  arrange();
});
