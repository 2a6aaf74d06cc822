// Whoever types what to purge means that, and not what was chosen before.

for (const input of document.querySelectorAll(".choice input:not([type=radio])")) {
  input.addEventListener("input", () => { input.closest(".choice").querySelector("[type=radio]").checked = true; });
}
