// What every page may use: copying a text, and nothing that a page would not work without.

for (const button of document.querySelectorAll("button[data-copy]")) {
  button.hidden = !navigator.clipboard && !document.execCommand;
  button.addEventListener("click", async () => {
    const source = document.getElementById(button.dataset.copy);
    const done = await copied(source);
    const before = button.dataset.label ?? (button.dataset.label = button.textContent);
    button.textContent = done ? "Copied" : "Select and copy";
    setTimeout(() => { button.textContent = before; }, 2000);
  });
}

/** Copies an element's text; where the browser forbids it (no https), selects it, so that Ctrl-C does. */
async function copied(element) {
  try {
    await navigator.clipboard.writeText(element.textContent);
    return true;
  } catch {
    const range = document.createRange();
    range.selectNodeContents(element);
    const selection = getSelection();
    selection.removeAllRanges();
    selection.addRange(range);
    return document.execCommand("copy");
  }
}
