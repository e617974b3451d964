// A view of a photo that takes the pointer and keys: what the views of all nodes share. Knows nothing of ComfyUI.

import { clamp, contain } from "./optics.mjs";

const STYLE = `
.magicbokeh-view{display:flex;flex-direction:column;gap:4px;box-sizing:border-box;width:100%;height:100%;min-height:240px;font:12px system-ui,sans-serif;color:var(--input-text,#ddd)}
.magicbokeh-view [role=application]{position:relative;flex:1;min-height:180px;overflow:hidden;border-radius:6px;background:#0008;outline:none;touch-action:none;cursor:crosshair}
.magicbokeh-view [role=application]:focus-visible{box-shadow:inset 0 0 0 2px #4af}
.magicbokeh-view canvas{position:absolute;inset:0;width:100%;height:100%}
.magicbokeh-view output{position:absolute;inset:auto 0 0 0;padding:2px 6px;background:#000b;color:#fff;font-size:11px;pointer-events:none}
.magicbokeh-view div:last-child{display:flex;gap:4px;flex-wrap:wrap}
.magicbokeh-view button{flex:1 1 auto;font:inherit;padding:2px 6px;border:1px solid #8888;border-radius:4px;background:var(--comfy-input-bg,#0004);color:inherit;cursor:pointer}
.magicbokeh-view [role=slider]:focus-visible{outline:2px solid #4af}
.magicbokeh-view button[aria-pressed=true]{background:#4af;color:#000}`;

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/**
 * The element, its buttons, and when it draws. Others draw on it by paint(context, place, state, density), and hear of point(event) and
 * press(key, event), which says whether the key was one of theirs.
 *
 * model: get() -> state of the node with its view; zoom(); set({view}); done(), after a change by key or wheel, for undo.
 * text: the words to show. views: what can be chosen to be shown.
 */
export class PhotoView {
  constructor(model, text, views) {
    this.model = model;
    this.text = text;
    this.views = views;
    if (!document.getElementById("magicbokeh-style")) {
      document.head.append(element("style", { id: "magicbokeh-style" }, STYLE));
    }
    this.canvas = element("canvas");
    this.hint = element("output", { "aria-live": "polite", "data-testid": "magicbokeh-hint" });
    this.stage = element(
      "div",
      { role: "application", tabindex: "0", "aria-label": text.label, "data-testid": "magicbokeh-stage" },
      this.canvas,
      this.hint,
    );
    this.bar = element("div");
    this.buttons = views.map((view) => this.button(view, () => this.choose(view)));
    this.root = element("div", { class: "magicbokeh-view" }, this.stage, this.bar);
    this.listen();
    this.resized = new ResizeObserver(() => this.redraw());
    this.resized.observe(this.stage);
  }

  /** A button below the photo. */
  button(name, act) {
    const made = element("button", { type: "button", title: this.text.titles[name], "data-testid": `magicbokeh-${name}` }, this.text[name]);
    made.addEventListener("click", act);
    this.bar.append(made);
    return made;
  }

  /** Show an <img>. */
  setPhoto(photo) {
    this.photo = photo;
    this.redraw();
  }

  choose(view) {
    this.model.set({ view });
    this.redraw();
  }

  redraw() {
    this.pending ??= requestAnimationFrame(() => {
      this.pending = null;
      this.draw();
    });
  }

  place() {
    const { clientWidth, clientHeight } = this.stage;
    if (!this.photo || !clientWidth || !clientHeight) return null;
    return contain(clientWidth, clientHeight, this.photo.naturalWidth, this.photo.naturalHeight);
  }

  draw() {
    const state = this.model.get();
    const density = Math.min(2, window.devicePixelRatio || 1) * clamp(this.model.zoom(), 1, 2);
    const [width, height] = [this.stage.clientWidth, this.stage.clientHeight];
    this.canvas.width = Math.max(1, Math.round(width * density));
    this.canvas.height = Math.max(1, Math.round(height * density));
    const context = this.canvas.getContext("2d");
    context.setTransform(density, 0, 0, density, 0, 0);
    this.buttons.forEach((button, i) => button.setAttribute("aria-pressed", String(this.views[i] === state.view)));
    this.paint(context, this.place(), state, density);
  }

  listen() {
    const { stage } = this;
    // Not prevented: the page takes its snapshots for undo at mouseup.
    stage.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      event.stopPropagation();
      stage.setPointerCapture(event.pointerId);
      stage.focus({ preventScroll: true });
      this.dragging = true;
      this.point(event);
    });
    stage.addEventListener("pointermove", (event) => {
      if (!this.dragging) return;
      event.stopPropagation();
      this.point(event);
    });
    stage.addEventListener("lostpointercapture", () => {
      this.dragging = false;
      this.redraw();
    });
    stage.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return; // the page's own, such as Ctrl+Enter to run
      if (!this.press(event.key, event)) return;
      event.preventDefault();
      event.stopPropagation();
      this.redraw();
      this.settle();
    });
  }

  /** Keys and wheel end no action that the page would see; a pause does. */
  settle() {
    clearTimeout(this.settled);
    this.settled = setTimeout(() => this.model.done(), 250);
  }

  remove() {
    this.resized.disconnect();
    clearTimeout(this.settled);
  }
}

/** How far an arrow key moves a point, in 0..1 to the right and down. */
export function step(key, event) {
  const by = event.shiftKey ? 0.05 : 0.005;
  return { ArrowLeft: [-by, 0], ArrowRight: [by, 0], ArrowUp: [0, -by], ArrowDown: [0, by] }[key];
}
