// What screen readers are not told by the widgets themselves: the names of sliders, and whether
// a fold is open.

function tell(panel) {
  for (const handle of panel.querySelectorAll(".noUi-handle")) {
    const label = handle.closest(".widget-inline-hbox")?.querySelector(".widget-label");
    const name = label?.textContent ?? "";
    if (name && handle.getAttribute("aria-label") !== name) {
      handle.setAttribute("aria-label", name);
    }
  }
  for (const button of panel.querySelectorAll(".wb-fold > button")) {
    const open = String(button.classList.contains("mod-active"));
    if (button.getAttribute("aria-expanded") !== open) button.setAttribute("aria-expanded", open);
  }
}

function render({ el }) {
  let observer = null;
  const timer = setInterval(() => { // the panel is there a moment after its parts
    const panel = el.closest(".wb-panel");
    if (!panel) return;
    clearInterval(timer);
    tell(panel);
    observer = new MutationObserver(() => tell(panel));
    observer.observe(panel, {
      subtree: true, childList: true, attributes: true, attributeFilter: ["class"],
    });
  }, 50);
  return () => {
    clearInterval(timer);
    observer?.disconnect();
  };
}

export default { render };
