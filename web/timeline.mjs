// The frames of a clip as a strip with keys on it: click or drag to a frame, drag a key to another. Knows nothing of ComfyUI.

import { clamp } from "./optics.mjs";
import { element } from "./photo_view.mjs";

const END = 10; // pixels left of the first frame and right of the last
const NEAR = 7; // pixels from a key that still take it

/** model: get() -> {count, frame, keys: frames with a key, locked}; go(frame); move(from, to) a key; add(), remove() one here. */
export class Timeline {
  constructor(model, text) {
    this.model = model;
    this.canvas = element("canvas");
    this.root = element(
      "div",
      { role: "slider", tabindex: "0", "aria-label": text.timeline, "aria-valuemin": "0", "data-testid": "magicbokeh-timeline" },
      this.canvas,
    );
    this.root.style.cssText = "position:relative;flex:0 0 26px;border-radius:4px;background:#0008;touch-action:none;cursor:pointer";
    this.listen();
  }

  get span() {
    return Math.max(1, this.root.clientWidth - 2 * END);
  }

  x(frame, count) {
    return END + (this.span * frame) / Math.max(1, count - 1);
  }

  draw(density) {
    const { count, frame, keys } = this.model.get();
    const { clientWidth: width, clientHeight: height } = this.root;
    this.canvas.width = Math.max(1, Math.round(width * density));
    this.canvas.height = Math.max(1, Math.round(height * density));
    const context = this.canvas.getContext("2d");
    context.setTransform(density, 0, 0, density, 0, 0);
    context.fillStyle = "#888";
    context.fillRect(END, height / 2 - 1, this.span, 2);
    const here = this.x(frame, count);
    context.fillStyle = "#4af";
    context.fillRect(here - 1, 2, 2, height - 4);
    for (const key of keys) {
      const [x, y, r] = [this.x(Math.min(key, count - 1), count), height / 2, 5];
      context.beginPath();
      for (const [dx, dy] of [[r, 0], [0, r], [-r, 0], [0, -r]]) context.lineTo(x + dx, y + dy);
      context.closePath();
      context.fillStyle = key === frame ? "#4af" : "#fff";
      context.strokeStyle = "#000c";
      context.fill();
      context.stroke();
    }
    this.root.setAttribute("aria-valuemax", String(count - 1));
    this.root.setAttribute("aria-valuenow", String(frame));
  }

  /** The frame at a place on the screen, and the key there if there is one. */
  at(event) {
    const { count, keys } = this.model.get();
    const rect = this.root.getBoundingClientRect();
    const x = (event.clientX - rect.left) / (rect.width / this.root.clientWidth);
    const frame = Math.round(clamp((x - END) / this.span, 0, 1) * (count - 1));
    const away = (key) => Math.abs(this.x(key, count) - x);
    const [key] = [...keys].sort((a, b) => away(a) - away(b));
    return { frame, key: key !== undefined && away(key) <= NEAR ? key : undefined };
  }

  listen() {
    const { root } = this;
    root.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      event.stopPropagation();
      root.setPointerCapture(event.pointerId);
      root.focus({ preventScroll: true });
      const { frame, key } = this.at(event);
      this.held = key;
      this.dragging = true;
      this.model.go(key ?? frame);
    });
    root.addEventListener("pointermove", (event) => {
      if (!this.dragging) return;
      event.stopPropagation();
      const { frame } = this.at(event);
      const { keys, locked } = this.model.get();
      if (this.held !== undefined && frame !== this.held) {
        if (locked || keys.includes(frame)) return;
        this.model.move(this.held, frame);
        this.held = frame;
      }
      this.model.go(frame);
    });
    root.addEventListener("lostpointercapture", () => (this.dragging = false));
    root.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (!this.press(event.key, event.shiftKey)) return;
      event.preventDefault();
      event.stopPropagation();
    });
  }

  press(key, shift) {
    const { count, frame, keys, locked } = this.model.get();
    const by = shift ? Math.max(1, Math.round(count / 10)) : 1;
    const to = {
      ArrowLeft: frame - by,
      ArrowRight: frame + by,
      Home: 0,
      End: count - 1,
      PageUp: keys.filter((other) => other < frame).at(-1) ?? frame,
      PageDown: keys.find((other) => other > frame) ?? frame,
    }[key];
    if (to !== undefined) this.model.go(clamp(to, 0, count - 1));
    else if (key === "Enter" && !locked) this.model.add();
    else if (["Delete", "Backspace"].includes(key) && !locked) this.model.remove();
    else return false;
    return true;
  }
}
