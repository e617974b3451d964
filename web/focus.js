// Click to focus on Defocus Map: ties the view to the node. All state is in the node's own widgets, so that prompts and pages
// without this script work the same.

import { app } from "../../scripts/app.js";
import { ROUND, apertureOf } from "./aperture.mjs";
import {
  address,
  chain,
  executionId,
  isConnected,
  isOnPage,
  lensOf,
  load,
  locatorOf,
  nameShown,
  photoOf,
  registerOnce,
  replaceStale,
  watch,
  widgetOf,
  wordsOfPage,
} from "./graph.mjs";
import { FocusView, THREE_POINTS, VIEWS } from "./view.mjs";

const NODE = "MagicBokehDefocusMap";
const NEEDED = { mask: ["focus_mask"], box: ["image", "focus_box"] }; // inputs of each focus_mode

const POINTS = [["focus_x", "focus_y"], ["focus_x2", "focus_y2"], ["focus_x3", "focus_y3"]];
const PASSED_ON = { range: "focus_range", falloff: "falloff", tilt: "tilt", direction: "tilt_direction" }; // outputs for the lens
const NOT_IN_PREVIEW = ["highlight_boost", "grain"]; // widgets of the lens

class FocusNode {
  constructor(node) {
    this.node = node;
    const text = wordsOfPage();
    this.view = new FocusView(this, text);
    this.view.root.magicbokeh = node;
    this.widget = node.addDOMWidget("focus_view", "MAGICBOKEH_FOCUS_VIEW", this.view.root, {
      serialize: false,
      hideOnZoom: false,
      hideInPanel: true,
      getMinHeight: () => 260,
      getValue: () => "",
      setValue: () => {},
    });
    this.widget.serialize = false;
    this.widget.label = text.focus; // App mode shows it above the view
    const [width, height] = node.computeSize();
    node.setSize([Math.max(node.size[0], width, 320), Math.max(node.size[1], height)]);
    for (const name of [...POINTS.flat(), "focus", "k", "focus_mode", "focus_range", "falloff", "tilt", "tilt_direction"]) {
      chain(this.named(name), "callback", () => this.view.redraw());
    }
    chain(node, "onExecuted", (output) => this.executed(output));
    chain(node, "onConnectionsChange", () => this.soon());
    chain(node, "onConfigure", () => this.soon());
    chain(node, "onAdded", () => this.soon());
    chain(node, "onRemoved", () => this.view.remove());
    // Links further up, promoted widgets, zoom and undo tell nobody here.
    watch(node, 400, () => this.look());
    this.forward();
  }

  // What the view asks of the node

  named(name) {
    return this.node.widgets.find((widget) => widget.name === name);
  }

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
      view: VIEWS.includes(this.node.properties.magicbokeh_view) ? this.node.properties.magicbokeh_view : "map",
      connected: isConnected(this.node, "image"),
      missing: this.missing(mode),
      linked,
      locked: linked || (app.canvas.read_only && !LiteGraph.vueNodesMode),
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
  set({ point, which = 0, k, view }) {
    const put = (name, value) => {
      const widget = widgetOf(this.node, name);
      if (!widget || value === undefined || widget.value === value) return;
      widget.value = value;
      widget.callback?.(value, app.canvas, this.node);
    };
    if (point) {
      POINTS[which].forEach((name, i) => put(name, point[i]));
      if (this.get().mode !== THREE_POINTS) put("focus_mode", "point");
    }
    put("k", k);
    if (view) this.node.properties.magicbokeh_view = view;
    this.node.graph?.setDirtyCanvas(true, true);
  }

  zoom() {
    return app.canvas.ds.scale;
  }

  getDepth() {
    app.queuePrompt(0, 1, [executionId(this.node)]);
  }

  done() {
    this.view.stage.dispatchEvent(new Event("change", { bubbles: true }));
  }

  // What the page tells

  soon() {
    for (const wait of [0, 50, 300]) setTimeout(() => isOnPage(this.node) && this.look(), wait);
  }

  look() {
    const { node, view } = this;
    replaceStale(view.root);
    if (!view.root.isConnected) return;
    const source = photoOf(node);
    if (source !== this.source) this.show(source);
    const seen = JSON.stringify([this.get(), Math.round(4 * this.zoom())]);
    if (seen !== this.seen) view.redraw();
    this.seen = seen;
  }

  /** Show the photo of this address, and the depth that was found for it if there is any. */
  async show(source) {
    this.source = source;
    const had = Boolean(this.view.depth);
    const turn = (this.turn = (this.turn ?? 0) + 1);
    const output = this.recall(source);
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
    const source = photoOf(this.node);
    this.source = source;
    const turn = (this.turn = (this.turn ?? 0) + 1);
    const kept = {
      source,
      photo: output.magicbokeh_photo[0],
      disparity: output.magicbokeh_disparity[0],
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

  async pictures({ photo, disparity, found, size }) {
    const pictures = await Promise.all([photo, disparity].map((file) => load(address(file))));
    return [...pictures, found, size];
  }

  /** The classic canvas hears nothing over an element: hand on what is meant for it. */
  forward() {
    const { stage } = this.view;
    const classic = () => !LiteGraph.vueNodesMode;
    const hand = (name, wanted, method) =>
      stage.addEventListener(
        name,
        (event) => {
          if (!classic() || event.defaultPrevented || !wanted(event)) return;
          if (name !== "pointermove") event.preventDefault();
          method(event);
        },
        { passive: false },
      );
    hand("wheel", () => true, (event) => app.canvas.processMouseWheel(event));
    hand("pointerdown", (event) => event.button === 1, (event) => app.canvas.processMouseDown(event));
    hand("pointermove", (event) => event.buttons & 4, (event) => app.canvas.processMouseMove(event));
    hand("pointerup", (event) => event.button === 1, (event) => app.canvas.processMouseUp(event));
    hand("contextmenu", () => true, (event) => app.canvas.processContextMenu(this.node, event));
  }
}

registerOnce("magicbokeh.focus", (node) => {
  if (node.comfyClass === NODE) new FocusNode(node);
});
