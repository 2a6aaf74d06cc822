// The institutions that a form offers are those that its chosen tenant holds credentials for.

/** Offers them, and what is `named` already, such as by the URL. */
export function offer(fields, named) {
  if (fields.tenant.tagName !== "SELECT") return;
  const held = (fields.tenant.selectedOptions[0]?.dataset.institutions ?? "").split(" ").filter(Boolean);
  const current = fields.institution.value;
  for (const option of fields.institution.options) {
    option.hidden = option.disabled = !["", ...held, named].includes(option.value);
  }
  if (![named, ...held].includes(current)) fields.institution.value = held[0] ?? "";
}
