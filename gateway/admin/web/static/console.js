// What every page may use: copying a text. No page needs it.

for (const button of document.querySelectorAll("button[data-copy]")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const source = document.getElementById(button.dataset.copy);
    const word = button.firstElementChild;
    word.textContent = (await copied(source)) ? "Copied" : "Press Ctrl-C";
    setTimeout(() => { word.textContent = "Copy"; }, 2000);
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
