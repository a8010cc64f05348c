// A drop zone: files by button, drag and drop, paste and camera, sent to Python in pieces.
// The protocol is written down in transfer.py. Names are strangers' text: textContent only.

const CHUNK_BYTES = 1_000_000;
const PATIENCE_MS = 4_000;
const ROWS = 8;
const NAME_MOST = 56; // letters of a name that are shown: the first, and those of its ending
const NAME_ENDING = 20;
const WATCH_MS = 300; // so often it is looked whether the kernel has ended while Python is awaited
const ENDED = "the kernel that made this has ended. Run the cell again";
const FOLDER_MOST = 100; // files of folders that are dropped at once
const FOLDER_TAKES = /\.(jpe?g|png|webp|gif|bmp|tiff?|avif|onnx)$/i;

/** Three significant figures and a decimal unit, as workbench.units.size writes them. */
export function sizeText(bytes) {
  const rounded = bytes >= 1000 ? Number(bytes.toPrecision(3)) : bytes;
  const units = [[1e9, "GB"], [1e6, "MB"], [1e3, "kB"]];
  const [scale, unit] = units.find(([least]) => rounded >= least) ?? [1, "B"];
  if (scale === 1) return `${rounded} B`;
  const value = rounded / scale;
  return `${value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0)} ${unit}`;
}

/** A stranger's text on one line: what cannot be seen, or turns letters round, as its sign. */
export function plain(text) {
  return text.replace(/[\p{C}\p{Z}]/gu, (sign) => (sign === " " ? sign : "\uFFFD"));
}

/** A name of bearable length: the middle of a longer one is left out, its ending is kept. */
export function short(name) {
  const letters = [...name];
  if (letters.length <= NAME_MOST) return name;
  const first = letters.slice(0, NAME_MOST - NAME_ENDING - 1);
  return `${first.join("")}…${letters.slice(-NAME_ENDING).join("")}`;
}

/** Whether the zone needs a key itself; all others are the notebook's, Ctrl+S among them. */
function needs(event) {
  if (event.altKey) return false;
  if (event.ctrlKey || event.metaKey) return event.key.toLowerCase() === "v";
  return event.key === "Enter" || event.key === " " || (event.shiftKey && event.key === "Insert");
}

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/** The files that were dropped; of folders, what looks like a picture or a model. */
async function dropped(transfer) {
  const entries = [...(transfer?.items ?? [])].map((item) => item.webkitGetAsEntry?.());
  const files = [...(transfer?.files ?? [])]; // both must be read before anything is awaited
  if (!entries.some((entry) => entry?.isDirectory)) return files;
  const found = [];
  const waiting = entries.filter(Boolean);
  while (waiting.length && found.length < FOLDER_MOST) {
    const entry = waiting.shift();
    if (entry.isFile) {
      if (FOLDER_TAKES.test(entry.name) && !entry.name.startsWith(".")) {
        found.push(await new Promise((resolve, reject) => entry.file(resolve, reject)));
      }
      continue;
    }
    const reader = entry.createReader();
    for (;;) { // a reader gives some at a time
      const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
      if (!some.length) break;
      waiting.push(...some);
    }
  }
  return found;
}

/** Why a browser refused the camera or the clipboard, in words. */
function why(error) {
  return {
    NotAllowedError: "the browser does not allow this page to use it",
    SecurityError: "the browser does not allow this page to use it",
    NotFoundError: "none was found",
    NotReadableError: "another program is using it",
    AbortError: "it was interrupted",
  }[error.name] ?? error.name;
}

function button(text, title) {
  const node = make("button", { type: "button", class: "wb-drop-button", title }, text);
  return node;
}

function render({ model, el }) {
  const view = Math.random().toString(36).slice(2, 10);
  const answers = new Map(); // id → what waits for Python's next message
  const tidy = []; // what to undo when the view goes
  let number = 0;
  let stops = 0; // how often someone has stopped: what was given before is not sent any more
  let line = Promise.resolve(); // files are sent one after another

  // ── what is seen ────────────────────────────────────────────────────────────────────────────
  const picker = make("input", { type: "file", class: "wb-drop-hidden",
    tabindex: "-1", "aria-hidden": "true" });
  const choose = button("Choose files", "Choose files of this computer");
  const paste = button("Paste", "Take a picture from the clipboard");
  const camera = button("Camera", "Take a picture with the camera");
  const label = make("span", { class: "wb-drop-label" });
  const hint = make("span", { class: "wb-drop-hint" });
  const stage = make("div", { class: "wb-drop-stage", hidden: "" });
  const list = make("ul", { class: "wb-drop-list", "aria-label": "Files" });
  const said = make("p", { class: "wb-drop-said", role: "status", "aria-live": "polite" });
  const zone = make("div", { class: "wb-drop-zone" }, label,
    make("span", { class: "wb-drop-buttons" }, choose, paste, camera), hint, picker);
  const root = make("div", { class: "wb-drop", tabindex: "0", role: "group",
    }, zone, stage, list, said);
  el.append(root);

  // what a browser allows on https and on localhost only
  if (!navigator.clipboard?.read) {
    paste.disabled = true;
    paste.title = "This browser lets no page read its clipboard here: click the zone, then Ctrl+V";
  }
  if (!navigator.mediaDevices?.getUserMedia) {
    camera.disabled = true;
    camera.title = "No camera here: browsers allow it on https and on localhost only";
  }

  function labels() {
    label.textContent = model.get("label");
    root.setAttribute("aria-label", model.get("label"));
    picker.setAttribute("accept", model.get("accept"));
    const models = model.get("model_limit")
      ? `, models up to ${sizeText(model.get("model_limit"))}` : "";
    const missing = [paste.disabled && "reading the clipboard by button (Ctrl+V works)",
      camera.disabled && "the camera"].filter(Boolean);
    const not = missing.length ? ` This page may not use ${missing.join(" or ")}.` : "";
    hint.textContent =
      `Pictures up to ${sizeText(model.get("image_limit"))}${models}. ` +
      `${model.get("several") ? "Several at once are fine; " : ""}Ctrl+V or ⌘V pastes.${not}`;
    picker.toggleAttribute("multiple", model.get("several"));
  }
  labels();
  for (const name of ["label", "accept", "several", "image_limit", "model_limit"]) {
    model.on(`change:${name}`, labels);
    tidy.push(() => model.off(`change:${name}`, labels));
  }

  function say(text) {
    said.textContent = text;
  }

  function row(name, text) {
    const whole = plain(name);
    const what = make("bdi", { class: "wb-drop-name", dir: "ltr", title: whole }, short(whole));
    const state = make("span", { class: "wb-drop-state" });
    const node = make("li", {}, what, state);
    list.append(node);
    while (list.children.length > ROWS) list.firstChild.remove();
    const tell = (words, kind = "") => {
      state.textContent = words;
      node.className = kind;
    };
    tell(text);
    return { tell, done: () => { tell("sent", "wb-drop-done"); } };
  }

  // ── sending ─────────────────────────────────────────────────────────────────────────────────
  function heard(message) {
    if (message?.kind === "clear") {
      list.replaceChildren();
      return say("");
    }
    if (message?.kind === "stop") {
      stops += 1;
      return undefined;
    }
    const waiting = answers.get(message?.id);
    if (!waiting) return undefined; // another view's
    answers.delete(message.id);
    return waiting(message);
  }
  model.on("msg:custom", heard);
  tidy.push(() => model.off("msg:custom", heard));

  // ipywidgets marks what has lost its kernel; .wb-ended is the panel's own mark (panel.js)
  const ended = () => el.closest(".jupyter-widgets-disconnected, .wb-ended") !== null;

  /** Send a message if it can be sent; otherwise the panel says so. Returns whether it went. */
  function send(message, buffers = []) {
    try {
      if (!ended()) {
        model.send(message, undefined, buffers);
        return true;
      }
    } catch { // the other end is not there any more
      el.closest(".wb-panel")?.classList.add("wb-ended");
    }
    return false;
  }

  /** Send a message, and wait for Python's answer to it, or for the end of the kernel. */
  async function ask(message, buffers, slow) {
    const timer = setTimeout(slow, PATIENCE_MS);
    let watch;
    try {
      return await new Promise((resolve) => {
        const gone = () => resolve({ kind: "ended", message: `not sent: ${ENDED}` });
        answers.set(message.id, resolve);
        if (!send(message, buffers)) return gone();
        watch = setInterval(() => ended() && gone(), WATCH_MS);
        return undefined;
      });
    } finally {
      clearTimeout(timer);
      clearInterval(watch);
    }
  }

  const sending = new Set(); // ids of files under way
  const giveUp = () => sending.forEach((id) => send({ kind: "abort", id }));
  window.addEventListener("pagehide", giveUp); // the page goes, and what is half sent with it
  tidy.push(() => window.removeEventListener("pagehide", giveUp));

  async function transfer(file, name, via, shown, first, before) {
    const left = () => {
      if (stops === before) return false;
      shown.tell("not sent: stopped. Give it again", "wb-drop-failed");
      return true;
    };
    if (left()) return;
    const id = `${view}-${++number}`;
    sending.add(id);
    const slow = () => shown.tell("waiting: the kernel is busy or not connected");
    try {
      let answer = await ask({ kind: "begin", id, name, size: file.size, via, first }, [], slow);
      while (answer.kind === "more") {
        if (left()) return void send({ kind: "abort", id });
        const part = await file.slice(answer.offset, answer.offset + CHUNK_BYTES).arrayBuffer();
        shown.tell(`${Math.floor((100 * answer.offset) / file.size)} %`);
        answer = await ask({ kind: "chunk", id, offset: answer.offset }, [part], slow);
      }
      if (answer.kind === "done") shown.done();
      else shown.tell(answer.message, "wb-drop-failed");
    } catch (error) {
      send({ kind: "abort", id });
      shown.tell(`could not be read (${error.name})`, "wb-drop-failed");
    } finally {
      answers.delete(id);
      sending.delete(id);
    }
  }

  function take(given, via) {
    const files = model.get("several") ? given : given.slice(0, 1);
    say(files.length < given.length ? `One at a time: ${short(plain(files[0].name))} was taken.` : "");
    for (const old of list.querySelectorAll(".wb-drop-done, .wb-drop-failed")) old.remove();
    let first = true; // what is said of earlier files goes with the first message of these
    const taken = [];
    for (const file of files) {
      const name = file.name || (via === "camera" ? "camera.jpg" : "pasted.png");
      const isModel = /\.onnx$/i.test(name);
      const limit = isModel ? model.get("model_limit") : model.get("image_limit");
      if (file.size > limit) {
        const what = isModel && !limit ? "no models are taken here"
          : `it has ${sizeText(file.size)}; the limit is ${sizeText(limit)}`;
        row(name, "").tell(`not sent: ${what}`, "wb-drop-failed");
        send({ kind: "refused", name, size: file.size, first });
        first = false;
        continue;
      }
      taken.push([file, name, row(name, "waits")]);
    }
    const before = stops;
    for (const [file, name, shown] of taken) {
      const begins = first;
      first = false;
      const next = () => transfer(file, name, via, shown, begins, before);
      line = line.then(next, next); // one that fails stops no other
    }
  }

  // ── button, drag and drop, clipboard ────────────────────────────────────────────────────────
  choose.addEventListener("click", () => picker.click());
  picker.addEventListener("change", () => {
    take([...picker.files], "file");
    picker.value = ""; // the same file may be chosen again
  });

  let depth = 0; // enter and leave come for every child
  const over = (on) => zone.classList.toggle("wb-drop-over", on);
  for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
    root.addEventListener(kind, (event) => {
      event.preventDefault();
      event.stopPropagation(); // the notebook has its own ideas about what is dropped
      if (kind === "dragenter") over(++depth > 0);
      if (kind === "dragleave") over(--depth > 0);
      if (kind === "dragover") event.dataTransfer.dropEffect = "copy";
      if (kind !== "drop") return;
      over((depth = 0) > 0);
      dropped(event.dataTransfer).then((files) => {
        if (files.length) take(files, "drop");
        else say("No picture was dropped. From another page: save it first, and drop the file.");
      }, (error) => say(`What was dropped could not be read (${error.name}).`));
    });
  }

  // JupyterLab looks for this mark when a key is pressed, before the zone hears of the key
  const guard = (event) => {
    if (root.contains(event.target)) {
      root.toggleAttribute("data-lm-suppress-shortcuts", needs(event));
    }
  };
  window.addEventListener("keydown", guard, true);
  tidy.push(() => window.removeEventListener("keydown", guard, true));

  root.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    event.preventDefault();
    event.stopPropagation();
    if (files.length) take(files, "paste");
    else say("There is no picture on the clipboard.");
  });

  paste.addEventListener("click", async () => {
    try {
      const found = [];
      for (const item of await navigator.clipboard.read()) {
        const type = item.types.find((name) => name.startsWith("image/"));
        if (!type) continue;
        const blob = await item.getType(type);
        found.push(new File([blob], `pasted.${type.slice(6).split("+")[0]}`, { type }));
      }
      if (found.length) take(found, "paste");
      else say("There is no picture on the clipboard.");
    } catch (error) {
      say(`The clipboard cannot be read: ${why(error)}. Click the zone and press Ctrl+V or ⌘V.`);
    }
    root.focus();
  });

  // ── camera ──────────────────────────────────────────────────────────────────────────────────
  let stream = null;
  function closeCamera() {
    stream?.getTracks().forEach((track) => track.stop());
    stream = null;
    stage.replaceChildren();
    stage.hidden = true;
  }
  tidy.push(closeCamera);
  camera.addEventListener("click", async () => {
    if (stream) return closeCamera();
    say("");
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: true });
    } catch (error) {
      say(`No camera: ${why(error)}.`);
      return undefined;
    }
    const video = make("video", { autoplay: "", playsinline: "", "aria-label": "Camera" });
    video.muted = true;
    video.srcObject = stream;
    const shoot = button("Take picture", "Send what the camera sees now");
    const close = button("Close camera", "Switch the camera off");
    shoot.addEventListener("click", () => {
      const canvas = make("canvas");
      canvas.width = video.videoWidth;
      canvas.height = video.videoHeight;
      if (!canvas.width) return say("The camera has not shown a picture yet.");
      canvas.getContext("2d").drawImage(video, 0, 0);
      canvas.toBlob((blob) => {
        take([new File([blob], "camera.jpg", { type: "image/jpeg" })], "camera");
      }, "image/jpeg", 0.92);
      return undefined;
    });
    close.addEventListener("click", () => {
      closeCamera();
      camera.focus();
    });
    stage.append(video, make("span", { class: "wb-drop-buttons" }, shoot, close));
    stage.hidden = false;
    shoot.focus();
    return undefined;
  });

  return () => tidy.forEach((undo) => undo());
}

export default { render };
