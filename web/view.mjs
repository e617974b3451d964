// The focus view: its element, and what it draws. Knows nothing of ComfyUI.

import { ClipKeys } from "./clip_keys.mjs";
import { makeLens } from "./lens.mjs";
import { focusFromPoint, focusMap, levelled, planeThrough, unpack } from "./optics.mjs";
import { PointView } from "./point_view.mjs";

const MAP_SIDE = 512; // pixels of the focus map, so that it keeps up with dragging

export const VIEWS = ["photo", "map", "preview"];
export const THREE_POINTS = "three points"; // the focus_mode

/** A picture's pixels, at most `side` wide and high. */
function pixels(picture, side, smooth = true) {
  const scale = Math.min(1, side / Math.max(picture.naturalWidth, picture.naturalHeight));
  const [width, height] = [picture.naturalWidth, picture.naturalHeight].map((n) => Math.max(1, Math.round(n * scale)));
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingEnabled = smooth;
  context.drawImage(picture, 0, 0, width, height);
  return context.getImageData(0, 0, width, height);
}

/**
 * The element that shows the photo, takes clicks and keys, and draws what will be sharp.
 *
 * model: get() -> {points, k, range, falloff, tilt, direction, mode, value, keys, view, lens, linked, locked, connected, missing} of
 * the node; zoom(); set({point: [x, y], which} or {k} or {keys} or {view}); getDepth(); done(), after a change by key or wheel, for undo.
 * lens: {aperture, nearScale, farScale, leftOut, own}: names of what the preview does not show, and {key, value, name} of what the lens
 * has been given itself.
 * text: the words to show.
 */
export class FocusView extends PointView {
  constructor(model, text) {
    super(model, text, VIEWS);
    this.button("depth", () => this.model.getDepth());
    this.clip = new ClipKeys(this);
    this.listenToWheel();
  }

  /** Those in focus, if some are and they are known. */
  pointsOf(state) {
    const { mode, points } = state;
    if (this.clip.keysOf(state)?.length) return this.clip.pointsOf(state);
    return ["point", THREE_POINTS].includes(mode) && points.flat().every((part) => part !== undefined) ? points : [];
  }

  startOf(state) {
    const keyed = this.clip.keysOf(state)?.length ? this.clip.pointsOf(state) : [];
    return keyed.length ? keyed : state.points;
  }

  move(point, which) {
    if (this.clip.keysOf(this.model.get())?.length) this.clip.change({ point, focus: undefined });
    else super.move(point, which);
  }

  /** Show an <img>, and forget the depth. */
  setPhoto(photo) {
    this.depth = null;
    this.clip.forget();
    super.setPhoto(photo);
  }

  /**
   * Show what a run has found. shots: {frame, photo, packed} of one or more frames, of count in all; found: {mode, focus, ...};
   * size: of the photo that the node had, in pixels, which k counts in.
   */
  setDepth(shots, count, found, size) {
    const known = shots.map(({ frame, photo, packed }) => {
      const { data, width, height } = pixels(packed, Infinity, false);
      return { frame, photo, disparity: unpack(data), width, height };
    });
    this.clip.load(known, count);
    this.setShot(this.clip.shot, found, size);
  }

  /** Show one of the frames. */
  setShot({ photo, ...whole }, found, size) {
    this.photo = photo;
    const { disparity } = whole;
    const small = pixels(photo, MAP_SIDE);
    const [w, h] = [small.width, small.height];
    const near = new Float32Array(w * h);
    for (let r = 0; r < h; r++) {
      for (let c = 0; c < w; c++) {
        const from = Math.floor(((r + 0.5) * whole.height) / h) * whole.width + Math.floor(((c + 0.5) * whole.width) / w);
        near[r * w + c] = disparity[from];
      }
    }
    const map = Object.assign(document.createElement("canvas"), { width: w, height: h });
    this.depth = { disparity, width: whole.width, height: whole.height, found, size, small, near, map, tint: new ImageData(w, h) };
    this.lens?.load(photo, small, near);
    this.redraw();
  }

  /** The focal plane as far as it is known here: disparity in the middle of the picture, tilt and direction. */
  plane(state) {
    const { depth } = this;
    const { mode, value, tilt, direction } = state;
    const keyed = this.clip.here(state);
    if (keyed?.focus !== undefined) return { focus: keyed.focus, tilt, direction };
    if (keyed?.waits) return null;
    if (mode === "value" && value !== undefined) return { focus: value, tilt, direction };
    const points = this.pointsOf(state);
    if (depth && points.length) {
      const { disparity, width, height, size } = depth;
      const level = mode === THREE_POINTS ? undefined : { tilt, direction };
      const found = points.map(([x, y]) => [x, y, focusFromPoint(disparity, width, height, x, y, level)]);
      return mode === THREE_POINTS ? planeThrough(found, ...size) : { focus: found[0][2], tilt, direction };
    }
    if (depth?.found.mode !== mode) return null;
    const { focus, tilt: foundTilt = 0, tilt_direction: foundDirection = 0 } = depth.found;
    if (mode === THREE_POINTS) return { focus, tilt: foundTilt, direction: foundDirection };
    return foundTilt === tilt && foundDirection === direction ? { focus, tilt, direction } : null;
  }

  paint(context, place, given, density) {
    const plane = this.plane(given);
    const state = { ...given, k: this.clip.here(given)?.k ?? given.k };
    this.clip.draw(density, given);
    this.hint.textContent = this.describe(state, plane);
    if (!place) return;
    let picture = this.photo;
    if (this.depth && plane) {
      if (state.view === "map") picture = this.map(plane, state);
      if (state.view === "preview") picture = this.preview(place, plane, state, density);
    }
    context.drawImage(picture, place.x, place.y, place.width, place.height);
    this.paintPoints(context, place, state);
  }

  map(plane, lens) {
    const { small, near, map, tint } = this.depth;
    focusMap(small.data, levelled(near, small.width, small.height, plane), plane.focus, lens, tint.data);
    map.getContext("2d").putImageData(tint, 0, 0);
    return map;
  }

  preview(place, plane, { k, range, falloff, lens }, density) {
    if (this.lens === undefined) {
      this.lens = makeLens();
      this.lens?.load(this.photo, this.depth.small, this.depth.near);
    }
    if (!this.lens) {
      this.hint.textContent = this.text.noPreview;
      return this.photo;
    }
    // A graphics card does it all at once. A processor is given less to do, so that it keeps up.
    const [most, samples] = !this.lens.slow ? [Infinity, 96] : this.dragging ? [24e3, 20] : [130e3, 32];
    const scale = Math.min(density, Math.sqrt(most / (place.width * place.height)));
    const [width, height] = [place.width, place.height].map((n) => Math.max(1, Math.round(n * scale)));
    const settings = { ...lens, ...plane, k: (k * width) / this.depth.size[0], range, falloff };
    return this.lens.draw(width, height, plane.focus, settings, samples);
  }

  describe(state, plane) {
    const [{ text }, { k, mode, view, lens, linked, connected, missing }] = [this, state];
    if (this.clip.keysOf(state) === null) return text.notKeys;
    if (missing) return text.needs.replace("{mode}", text.values[mode] ?? mode).replace("{input}", missing);
    if (!this.photo) return connected ? text.noDepth : text.noPhoto;
    if (this.stale) return text.stale;
    if (!this.depth) return text.noDepth;
    const points = this.pointsOf(state);
    if (!plane) return points.length > 1 ? text.onLine : text.notYet;
    const percent = (part) => `${Math.round(100 * part)} %`;
    const by = this.clip.here(state)?.focus === undefined ? text.values[mode] ?? mode : text.byKeys;
    const where = points.length === 1 ? points[0].map(percent).join(", ") : by;
    const tilt = plane.tilt ? `, ${text.tilt} ${plane.tilt.toFixed(2)}` : "";
    const said = [`${text.focus} ${plane.focus.toFixed(3)} (${where})${tilt}, K ${Math.round(100 * k) / 100}`];
    if (this.clip.count > 1) said.push(text.frame.replace("{frame}", this.clip.frame).replace("{count}", this.clip.count));
    if (linked) said.push(text.linked);
    if (view === "preview") {
      const shown = { ...state, ...plane };
      const different = lens.own.filter(({ key, value }) => Math.abs(value - shown[key]) > 1e-4);
      if (lens.leftOut.length) said.push(`${text.leftOut} ${lens.leftOut.join(", ")}`);
      if (different.length) said.push(`${text.notConnected} ${different.map(({ name }) => name).join(", ")}`);
    }
    return said.join("; ");
  }

  listenToWheel() {
    const { stage } = this;
    // Nodes 2.0 hands every turn of the wheel on to the canvas before it comes here, unless this says otherwise.
    const claim = (event) => (stage.dataset.captureWheel = String(Boolean(event.altKey)));
    for (const name of ["keydown", "keyup", "blur"]) stage.addEventListener(name, claim);
    stage.addEventListener(
      "wheel",
      (event) => {
        if (!event.altKey || document.activeElement !== stage) return;
        event.preventDefault();
        event.stopPropagation();
        this.aperture(-Math.sign(event.deltaY));
        this.settle();
      },
      { passive: false },
    );
  }

  press(key, event) {
    if (super.press(key, event)) return true;
    if (key === "+" || key === "-") this.aperture(key === "+" ? 1 : -1);
    else if ("123".includes(key)) this.choose(VIEWS[key - 1]);
    else if (key === "Enter") this.model.getDepth();
    else return false;
    return true;
  }

  aperture(step) {
    const state = this.model.get();
    const k = Math.max(0, (this.clip.here(state)?.k ?? state.k) + step);
    if (this.clip.keysOf(state)?.length) this.clip.changeK(k);
    else this.model.set({ k });
    this.redraw();
  }
}
