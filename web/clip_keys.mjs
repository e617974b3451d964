// The frames of a clip in the focus view: which one is shown, and the keys that are set on it. Knows nothing of ComfyUI.

import { MOVES, atFrame, readKeys, withKey, writeKeys } from "./keys.mjs";
import { focusFromPoint } from "./optics.mjs";
import { Timeline } from "./timeline.mjs";

/** view: the `FocusView` that it belongs to. Of a clip the page has some frames, evenly spread; a frame between shows the nearest. */
export class ClipKeys {
  constructor(view) {
    this.view = view;
    const text = view.text;
    this.timeline = new Timeline(this, text);
    view.root.insertBefore(this.timeline.root, view.bar);
    this.button = view.button("key", () => (this.own() ? this.remove() : this.add()));
    this.moves = view.button("move", () => this.change({ move: MOVES[(MOVES.indexOf(this.own().move) + 1) % MOVES.length] }));
    this.forget();
  }

  forget() {
    this.load([], 1);
  }

  /** shots: {frame, photo, disparity, width, height} of the frames that the page has. */
  load(shots, count) {
    this.shots = shots;
    this.count = count;
    this.frame = Math.min(this.frame ?? 0, count - 1);
    this.timeline.root.hidden = count < 2;
    this.button.hidden = count < 2;
  }

  /** The one of the page's frames that is nearest to the one that is looked at, or to another. */
  get shot() {
    return this.nearest(this.frame);
  }

  nearest(frame) {
    const away = this.shots.map((shot) => Math.abs(shot.frame - frame));
    return this.shots[away.indexOf(Math.min(...away))];
  }

  /** The keys that the node's text says, read once; null if it can't be read. */
  keysOf({ keys = "" }) {
    if (this.text !== keys) [this.text, this.read] = [keys, readKeys(keys)];
    return this.read;
  }

  /** Focus and k by keys, if there are any; waits: whether the focus is that of a point whose depth is not known yet. */
  here(state) {
    const keys = this.keysOf(state);
    if (!keys?.length) return null;
    const look = (frame, [x, y]) => {
      const shot = this.nearest(frame);
      return shot && focusFromPoint(shot.disparity, shot.width, shot.height, x, y, { tilt: state.tilt, direction: state.direction });
    };
    const found = atFrame(keys, this.frame, look);
    return { ...found, waits: found.focus === undefined && keys.some(({ point }) => point) };
  }

  own(keys = this.keysOf(this.view.model.get())) {
    return keys?.find(({ frame }) => frame === this.frame);
  }

  pointsOf(state) {
    const point = this.own(this.keysOf(state))?.point;
    return point ? [point] : [];
  }

  draw(density, state) {
    const own = this.own(this.keysOf(state));
    this.button.textContent = own ? this.view.text.unkey : this.view.text.key;
    this.button.setAttribute("aria-pressed", String(Boolean(own)));
    this.button.disabled = state.locked;
    this.moves.hidden = !own || this.count < 2;
    this.moves.disabled = state.locked;
    this.moves.textContent = this.view.text.moves[own?.move];
    if (this.count > 1) this.timeline.draw(density);
  }

  // What the timeline asks

  get() {
    const state = this.view.model.get();
    const keys = this.keysOf(state) ?? [];
    return { count: this.count, frame: this.frame, keys: keys.map(({ frame }) => frame), locked: state.locked };
  }

  go(frame) {
    const before = this.shot;
    this.frame = frame;
    const { view } = this;
    if (this.shot && this.shot !== before) view.setShot(this.shot, view.depth.found, view.depth.size);
    view.redraw();
  }

  move(from, to) {
    const keys = this.keysOf(this.view.model.get());
    this.write(keys.map((key) => (key.frame === from ? { ...key, frame: to } : key)));
  }

  /** A key here that keeps what is in focus. */
  add() {
    const state = this.view.model.get();
    const plane = this.view.plane(state);
    const point = this.view.pointsOf(state).length === 1 && !this.keysOf(state)?.length ? state.points[0] : undefined;
    this.change(point ? { point } : { focus: plane ? Math.round(plane.focus * 1e4) / 1e4 : 0.5 });
  }

  remove() {
    this.change(null);
  }

  /** Change the key of this frame, or make one. */
  change(values) {
    const keys = this.keysOf(this.view.model.get()) ?? [];
    this.write(withKey(keys, this.frame, values));
    this.view.redraw();
    this.view.settle();
  }

  /** An aperture at this frame; keys that say nothing of it keep what there was. */
  changeK(k) {
    const state = this.view.model.get();
    const keys = this.keysOf(state);
    const some = keys.some((key) => key.k !== undefined) ? keys : keys.map((key) => ({ ...key, k: state.k }));
    const focus = this.own() ? {} : { focus: this.here(state)?.focus };
    this.write(withKey(some, this.frame, { ...focus, k }));
  }

  write(keys) {
    if (!this.view.model.get().locked) this.view.model.set({ keys: writeKeys(keys) });
  }
}
