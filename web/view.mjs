// The focus view: its element, and what it draws. Knows nothing of ComfyUI.

import { makeLens } from "./lens.mjs";
import { clamp, focusFromPoint, focusMap, levelled, planeThrough, pointAt, unpack } from "./optics.mjs";
import { PhotoView, step } from "./photo_view.mjs";

const MAP_SIDE = 512; // pixels of the focus map, so that it keeps up with dragging

export const VIEWS = ["photo", "map", "preview"];
export const THREE_POINTS = "three points"; // the focus_mode

/** The points in focus, [x, y] each, if some are and they are known. */
function pointsOf({ mode, points }) {
  return ["point", THREE_POINTS].includes(mode) && points.flat().every((part) => part !== undefined) ? points : [];
}

/** Which of the points lies nearest to another one in a picture of this size on the screen; the first if there are none. */
function nearest(points, [x, y], { width, height }) {
  const away = points.map((point) => Math.hypot((point[0] - x) * width, (point[1] - y) * height));
  return Math.max(0, away.indexOf(Math.min(...away)));
}

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
 * model: get() -> {points, k, range, falloff, tilt, direction, mode, value, view, lens, linked, locked, connected, missing} of the
 * node; zoom(); set({point: [x, y], which} or {k} or {view}); getDepth(); done(), after a change by key or wheel, for undo.
 * lens: {aperture, nearScale, farScale, leftOut, own}: names of what the preview does not show, and {key, value, name} of what the lens
 * has been given itself.
 * text: the words to show.
 */
export class FocusView extends PhotoView {
  constructor(model, text) {
    super(model, text, VIEWS);
    this.taken = 0; // which of the points is moved
    this.button("depth", () => this.model.getDepth());
    this.listenToWheel();
  }

  /** Show an <img>, and forget the depth. */
  setPhoto(photo) {
    this.depth = null;
    super.setPhoto(photo);
  }

  /** Show what a run has found. found: {mode, focus, ...}; size: of the photo that the node had, in pixels, which k counts in. */
  setDepth(photo, packed, found, size) {
    this.photo = photo;
    const whole = pixels(packed, Infinity, false);
    const small = pixels(photo, MAP_SIDE);
    const disparity = unpack(whole.data);
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
    if (mode === "value" && value !== undefined) return { focus: value, tilt, direction };
    const points = pointsOf(state);
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

  paint(context, place, state, density) {
    const plane = this.plane(state);
    this.hint.textContent = this.describe(state, plane);
    if (!place) return;
    let picture = this.photo;
    if (this.depth && plane) {
      if (state.view === "map") picture = this.map(plane, state);
      if (state.view === "preview") picture = this.preview(place, plane, state, density);
    }
    context.drawImage(picture, place.x, place.y, place.width, place.height);
    pointsOf(state).forEach(([x, y], i, { length }) => {
      const [across, down] = [place.x + x * place.width, place.y + y * place.height];
      this.cross(context, across, down, state.locked);
      // Left of the cross or below it where there is no room on its upper right.
      if (length > 1) this.number(context, across + (across > this.stage.clientWidth - 24 ? -13 : 13), down + (down < 20 ? 13 : -13), i + 1);
    });
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

  cross(context, x, y, locked) {
    for (const [width, color] of [[3.5, "#000a"], [1.5, locked ? "#fa4" : "#fff"]]) {
      context.lineWidth = width;
      context.strokeStyle = color;
      context.beginPath();
      context.arc(x, y, 9, 0, 2 * Math.PI);
      for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
        context.moveTo(x + 4 * dx, y + 4 * dy);
        context.lineTo(x + 14 * dx, y + 14 * dy);
      }
      context.stroke();
    }
  }

  number(context, x, y, number) {
    Object.assign(context, { font: "bold 13px system-ui,sans-serif", textAlign: "center", textBaseline: "middle" });
    Object.assign(context, { lineWidth: 4, lineJoin: "round", strokeStyle: "#000c", fillStyle: "#fff" });
    context.strokeText(number, x, y);
    context.fillText(number, x, y);
  }

  describe(state, plane) {
    const [{ text }, { k, mode, view, lens, linked, connected, missing }] = [this, state];
    if (missing) return text.needs.replace("{mode}", text.values[mode] ?? mode).replace("{input}", missing);
    if (!this.photo) return connected ? text.noDepth : text.noPhoto;
    if (this.stale) return text.stale;
    if (!this.depth) return text.noDepth;
    const points = pointsOf(state);
    if (!plane) return points.length > 1 ? text.onLine : text.notYet;
    const percent = (part) => `${Math.round(100 * part)} %`;
    const where = points.length === 1 ? points[0].map(percent).join(", ") : text.values[mode] ?? mode;
    const tilt = plane.tilt ? `, ${text.tilt} ${plane.tilt.toFixed(2)}` : "";
    const said = [`${text.focus} ${plane.focus.toFixed(3)} (${where})${tilt}, K ${k}`];
    if (linked) said.push(text.linked);
    if (view === "preview") {
      const shown = { ...state, ...plane };
      const different = lens.own.filter(({ key, value }) => Math.abs(value - shown[key]) > 1e-4);
      if (lens.leftOut.length) said.push(`${text.leftOut} ${lens.leftOut.join(", ")}`);
      if (different.length) said.push(`${text.notConnected} ${different.map(({ name }) => name).join(", ")}`);
    }
    return said.join("; ");
  }

  point(event) {
    const { stage, model } = this;
    const place = this.place();
    const state = model.get();
    if (!place || state.locked) return;
    const point = pointAt(event.clientX, event.clientY, stage.getBoundingClientRect(), stage.clientWidth, place);
    if (event.type === "pointerdown") this.taken = nearest(pointsOf(state), point, place);
    model.set({ point, which: this.taken });
    this.redraw();
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
    const move = step(key, event);
    const state = this.model.get();
    if (move) {
      if (!state.locked) {
        const which = this.taken < state.points.length ? this.taken : 0;
        const point = state.points[which].map((value, i) => Math.round(clamp(value + move[i], 0, 1) * 1e4) / 1e4);
        this.model.set({ point, which });
      }
    } else if (key === "+" || key === "-") this.aperture(key === "+" ? 1 : -1);
    else if ("123".includes(key)) this.choose(VIEWS[key - 1]);
    else if (key === "Enter") this.model.getDepth();
    else return false;
    return true;
  }

  aperture(step) {
    this.model.set({ k: Math.max(0, this.model.get().k + step) });
    this.redraw();
  }
}
