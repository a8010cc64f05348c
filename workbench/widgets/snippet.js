// A text with a button that copies it. Where the clipboard may not be written, it says so.

function render({ model, el }) {
  const root = document.createElement("div");
  root.className = "wb-snippet";
  const head = document.createElement("div");
  head.className = "wb-snippet-head";
  const label = document.createElement("strong");
  const copy = document.createElement("button");
  copy.type = "button";
  copy.textContent = "Copy";
  const said = document.createElement("span");
  said.setAttribute("role", "status");
  said.setAttribute("aria-live", "polite");
  const text = document.createElement("pre");
  text.tabIndex = 0;
  head.append(label, copy, said);
  root.append(head, text);
  el.append(root);

  // what is needed to read and copy; all other keys are the notebook's, Ctrl+S among them
  const guard = (event) => {
    if (!root.contains(event.target)) return;
    const held = event.ctrlKey || event.metaKey;
    const mine = held ? /^[ac]$/i : /^(Arrow.*|Home|End|Page.*|Enter| )$/;
    root.toggleAttribute("data-lm-suppress-shortcuts", !event.altKey && mine.test(event.key));
  };
  window.addEventListener("keydown", guard, true);

  function paint() {
    label.textContent = model.get("label");
    text.textContent = model.get("value");
    text.setAttribute("aria-label", model.get("label"));
    root.hidden = !model.get("value");
  }

  async function write() {
    try {
      await navigator.clipboard.writeText(model.get("value"));
      said.textContent = "Copied.";
    } catch {
      getSelection().selectAllChildren(text);
      text.focus();
      said.textContent = "The clipboard may not be written here: press Ctrl+C (⌘C).";
    }
  }

  const heard = (message) => message?.kind === "copy" && write();
  copy.addEventListener("click", write);
  model.on("change:value", paint);
  model.on("change:label", paint);
  model.on("msg:custom", heard);
  paint();
  return () => {
    window.removeEventListener("keydown", guard, true);
    model.off("change:value", paint);
    model.off("change:label", paint);
    model.off("msg:custom", heard);
  };
}

export default { render };
