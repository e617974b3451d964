// The view of Disparity By Hand: lines over the photo, with handles. Knows nothing of ComfyUI.

import { clamp } from "./optics.mjs";
import { PhotoView, step } from "./photo_view.mjs";
import { HANDLES, handlesOf, linesOf, moved, room } from "./room.mjs";

const DEPTH_SIDE = 256; // pixels of the picture of the disparity
const REACH = 8; // pixels: radius of a handle, all of which stays in the view

export const VIEWS = ["lines", "room"];

/**
 * model: get() -> {hand, names, view, locked, connected} of the node: values of widgets and their names as shown; zoom();
 * set({hand} or {view}); done(), after a change by key, for undo.
 */
export class HandView extends PhotoView {
  constructor(model, text) {
    super(model, text, VIEWS);
    this.taken = 0; // which of the handles is moved
  }

  size() {
    return [this.photo.naturalWidth, this.photo.naturalHeight];
  }

  /** Where a handle is drawn for a place in the picture, which may lie beyond it. */
  shown([x, y], place) {
    const inside = (at, from, length) => clamp(from + at * length, from + REACH, from + length - REACH);
    return [inside(x, place.x, place.width), inside(y, place.y, place.height)];
  }

  paint(context, place, state) {
    this.hint.textContent = this.describe(state);
    if (!place) return;
    const picture = state.view === "room" ? this.depth(state.hand) : this.photo;
    context.drawImage(picture, place.x, place.y, place.width, place.height);
    context.save();
    context.beginPath();
    context.rect(place.x, place.y, place.width, place.height);
    context.clip();
    const lines = new Path2D();
    for (const [[x0, y0], [x1, y1]] of linesOf(state.hand, ...this.size())) {
      lines.moveTo(place.x + x0 * place.width, place.y + y0 * place.height);
      lines.lineTo(place.x + x1 * place.width, place.y + y1 * place.height);
    }
    for (const [width, color] of [[3, "#0008"], [1.25, "#fff"]]) {
      Object.assign(context, { lineWidth: width, strokeStyle: color });
      context.stroke(lines);
    }
    context.restore();
    handlesOf(state.hand, ...this.size()).forEach((at, i) => this.handle(context, ...this.shown(at, place), i, state.locked));
  }

  handle(context, x, y, which, locked) {
    Object.assign(context, { lineWidth: 2, strokeStyle: "#000c", fillStyle: locked ? "#fa4" : which === this.taken ? "#4af" : "#fff" });
    context.beginPath();
    context.arc(x, y, REACH - 1, 0, 2 * Math.PI);
    context.fill();
    context.stroke();
    Object.assign(context, { font: "bold 10px system-ui,sans-serif", textAlign: "center", textBaseline: "middle", fillStyle: "#000" });
    context.fillText(which + 1, x, y + 0.5);
  }

  /** The disparity of ground and walls in grey. */
  depth(hand) {
    const [width, height] = this.size().map((n) => Math.max(1, Math.round((n * DEPTH_SIDE) / Math.max(...this.size()))));
    const canvas = Object.assign(document.createElement("canvas"), { width, height });
    const picture = new ImageData(width, height);
    room(width, height, hand).forEach((value, i) => picture.data.set([255 * value, 255 * value, 255 * value, 255], 4 * i));
    canvas.getContext("2d").putImageData(picture, 0, 0);
    return canvas;
  }

  describe({ hand, names, connected }) {
    if (!this.photo) return connected ? this.text.noPicture : this.text.noPhoto;
    const name = HANDLES[this.taken];
    const widgets = Object.keys(moved(name, [0.5, 0.5], hand, ...this.size()));
    return `${this.taken + 1}: ${widgets.map((widget) => `${names[widget]} ${hand[widget].toFixed(2)}`).join(", ")}`;
  }

  /** A handle keeps its distance from the pointer that has taken it: one beyond the picture is drawn at its edge. */
  point(event) {
    const [place, state] = [this.place(), this.model.get()];
    if (!place) return;
    const rect = this.stage.getBoundingClientRect();
    const zoom = rect.width / this.stage.clientWidth;
    const [x, y] = [(event.clientX - rect.left) / zoom, (event.clientY - rect.top) / zoom];
    const handles = handlesOf(state.hand, ...this.size());
    if (event.type === "pointerdown") {
      const away = handles.map((at) => this.shown(at, place)).map(([left, top]) => Math.hypot(left - x, top - y));
      this.taken = away.indexOf(Math.min(...away));
      const at = handles[this.taken];
      this.hold = away[this.taken] <= 2 * REACH ? [at[0] - x / place.width, at[1] - y / place.height] : null;
    } else if (this.hold && !state.locked) this.move([x / place.width + this.hold[0], y / place.height + this.hold[1]]);
    this.redraw();
  }

  move(to) {
    this.model.set({ hand: moved(HANDLES[this.taken], to, this.model.get().hand, ...this.size()) });
  }

  press(key, event) {
    const by = step(key, event);
    if (by) {
      const { hand, locked } = this.model.get();
      const at = this.photo && handlesOf(hand, ...this.size())[this.taken];
      if (at && !locked) this.move(at.map((value, i) => value + by[i]));
    } else if (Number(key) >= 1 && Number(key) <= HANDLES.length) this.taken = Number(key) - 1;
    else return false;
    return true;
  }
}
