// What screen readers are not told by the widgets themselves: the names of sliders, and whether
// a fold is open. And what nobody is told: that the kernel behind a panel has ended.

const ENDED = "The kernel that made this has ended: run this cell again (Shift+Enter) to use it. "
  + "What was found can still be read and copied.";
// what does nothing without a kernel; the drop zone answers in words, copying needs no kernel
const CONTROLS = ".jupyter-button, .noUi-target, .widget-readout, .jupyter-widgets select, "
  + ".jupyter-widgets input:not(.wb-drop input), .jupyter-widgets textarea";

/** Say once, above the panel, that its kernel has ended, and take its controls away. */
function tellEnd(panel, el) {
  // ipywidgets sets its mark at a restart; the drop zone sets ours when it cannot send
  if (!panel.matches(".jupyter-widgets-disconnected, .wb-ended") || el.textContent) return;
  panel.classList.add("wb-ended");
  el.textContent = ENDED;
  for (const part of panel.querySelectorAll(CONTROLS)) part.inert = true;
}

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
  el.classList.add("wb-look");
  el.setAttribute("role", "status");
  let observer = null;
  const timer = setInterval(() => { // the panel is there a moment after its parts
    const panel = el.closest(".wb-panel");
    if (!panel) return;
    clearInterval(timer);
    const look = () => {
      tell(panel);
      tellEnd(panel, el);
    };
    look();
    observer = new MutationObserver(look);
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
