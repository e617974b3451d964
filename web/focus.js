// Click to focus on Defocus Map: ties the view to the node.

import { app } from "../../scripts/app.js";
import { ROUND, apertureOf } from "./aperture.mjs";
import {
  address,
  executionId,
  handiworkOf,
  isConnected,
  lensOf,
  load,
  locatorOf,
  nameShown,
  photoOf,
  registerOnce,
  widgetOf,
  wordsOfPage,
} from "./graph.mjs";
import { ViewNode } from "./view_node.mjs";
import { FocusView, THREE_POINTS, VIEWS } from "./view.mjs";

const NODE = "MagicBokehDefocusMap";
const NEEDED = { mask: ["focus_mask"], box: ["image", "focus_box"] }; // inputs of each focus_mode

const POINTS = [["focus_x", "focus_y"], ["focus_x2", "focus_y2"], ["focus_x3", "focus_y3"]];
const PASSED_ON = { range: "focus_range", falloff: "falloff", tilt: "tilt", direction: "tilt_direction" }; // outputs for the lens
const NOT_IN_PREVIEW = ["highlight_boost", "grain", "breathing"]; // widgets of the lens

class FocusNode extends ViewNode {
  constructor(node) {
    const text = wordsOfPage();
    super(node, new FocusView(null, text), {
      name: "focus_view",
      type: "MAGICBOKEH_FOCUS_VIEW",
      label: text.focus,
      widgets: [...POINTS.flat(), "focus", "k", "focus_mode", "focus_range", "falloff", "tilt", "tilt_direction", "keys"],
    });
  }

  // What the view asks of the node

  /** What another node gives (x, y, value: undefined) is known after a run. */
  get() {
    const value = (name) => widgetOf(this.node, name)?.value;
    const found = this.view.depth?.found;
    const mode = value("focus_mode") ?? found?.mode;
    const points = mode === THREE_POINTS ? POINTS : POINTS.slice(0, 1);
    const linked = ["focus_mode", ...points.flat()].some((name) => !widgetOf(this.node, name));
    return {
      points: points.map((names) => names.map(value)),
      k: value("k") ?? found?.k ?? this.named("k").value,
      range: value("focus_range") ?? found?.focus_range ?? 0,
      falloff: value("falloff") ?? found?.falloff ?? 1,
      tilt: value("tilt") ?? found?.tilt ?? 0,
      direction: value("tilt_direction") ?? found?.tilt_direction ?? 0,
      lens: this.lens(),
      mode,
      value: value("focus"),
      keys: value("keys"),
      view: VIEWS.includes(this.node.properties.magicbokeh_view) ? this.node.properties.magicbokeh_view : "map",
      connected: isConnected(this.node, "image"),
      missing: this.missing(mode),
      linked,
      locked: linked || this.isReadOnly(),
    };
  }

  /** What the preview shows of the lens that takes the focus, or a plain one, and names of what is set and it does not show. */
  lens() {
    const node = lensOf(this.node);
    const value = (name) => (node && widgetOf(node, name))?.value;
    const own = Object.fromEntries(Object.keys(ROUND).map((name) => [name, value(name) ?? ROUND[name]]));
    const aperture = apertureOf(value("lens"), own);
    const iris = node && isConnected(node, "iris");
    if (iris) Object.assign(aperture, { blades: 0, star: 0 });
    // What another node gives is known after a run at the earliest.
    const given = [...Object.keys(ROUND), "lens", "near_scale", "far_scale", ...NOT_IN_PREVIEW].filter(
      (name) => node && (NOT_IN_PREVIEW.includes(name) && value(name) > 0 || isConnected(node, name) && !widgetOf(node, name)),
    );
    return {
      aperture,
      nearScale: value("near_scale") ?? 1,
      farScale: value("far_scale") ?? 1,
      own: Object.entries(PASSED_ON)
        .filter(([, name]) => value(name) !== undefined)
        .map(([key, name]) => ({ key, value: value(name), name: nameShown(node, name) })),
      leftOut: [...(iris ? ["iris"] : []), ...given].map((name) => nameShown(node, name)),
    };
  }

  /** Name, as shown, of an input that the focus_mode needs and that is not connected. */
  missing(mode) {
    const name = NEEDED[mode]?.find((needed) => !isConnected(this.node, needed));
    return name && nameShown(this.node, name);
  }

  /** point: [x, y], and which of the points it is. */
  set({ point, which = 0, k, keys, view }) {
    if (point) {
      POINTS[which].forEach((name, i) => this.put(name, point[i]));
      if (this.get().mode !== THREE_POINTS) this.put("focus_mode", "point");
    }
    this.put("k", k);
    this.put("keys", keys);
    if (view) this.node.properties.magicbokeh_view = view;
    this.node.graph?.setDirtyCanvas(true, true);
  }

  getDepth() {
    this.shown = handiworkOf(this.node);
    app.queuePrompt(0, 1, [executionId(this.node)]);
  }

  // What the page tells

  look() {
    super.look();
    if (!this.view.depth) return;
    const made = handiworkOf(this.node);
    // Once the hand rests.
    if (made !== this.shown && made === this.made) this.getDepth();
    this.made = made;
  }

  /** Show the photo of this address, and the depth that was found for it if there is any. */
  async show(source) {
    this.source = source;
    const had = Boolean(this.view.depth);
    const turn = (this.turn = (this.turn ?? 0) + 1);
    const output = this.recall(source);
    if (output) this.shown = handiworkOf(this.node);
    let pictures = null;
    if (output) pictures = await this.pictures(output).catch(() => null); // after a restart the files are gone
    const photo = pictures ? null : source && (await load(source).catch(() => null));
    if (turn !== this.turn) return;
    this.view.stale = had && !pictures;
    if (pictures) this.view.setDepth(...pictures);
    else this.view.setPhoto(photo);
  }

  async executed(output) {
    if (!output?.magicbokeh_disparity) return;
    this.shown ??= handiworkOf(this.node); // later changes have asked for a run of their own
    const source = photoOf(this.node);
    this.source = source;
    const turn = (this.turn = (this.turn ?? 0) + 1);
    const kept = {
      source,
      photos: output.magicbokeh_photo,
      disparities: output.magicbokeh_disparity,
      frames: output.magicbokeh_frames,
      found: output.magicbokeh_focus[0],
      size: output.magicbokeh_size,
    };
    sessionStorage.setItem(`magicbokeh:${locatorOf(this.node)}`, JSON.stringify(kept));
    const pictures = await this.pictures(kept).catch(() => null);
    if (!pictures || turn !== this.turn) return;
    this.view.stale = false;
    this.view.setDepth(...pictures);
  }

  recall(source) {
    const kept = JSON.parse(sessionStorage.getItem(`magicbokeh:${locatorOf(this.node)}`) ?? "null");
    return kept?.source === source ? kept : null;
  }

  async pictures({ photos, disparities, frames: [count, ...frames], found, size }) {
    const each = (files) => Promise.all(files.map((file) => load(address(file))));
    const [shown, packed] = await Promise.all([each(photos), each(disparities)]);
    return [shown.map((photo, i) => ({ frame: frames[i], photo, packed: packed[i] })), count, found, size];
  }
}

registerOnce("magicbokeh.focus", (node) => {
  if (node.comfyClass === NODE) new FocusNode(node);
});
