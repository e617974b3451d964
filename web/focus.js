// Click to focus on Defocus Map: ties the view to the node. All state is in the node's own widgets, so that prompts and pages
// without this script work the same.

import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { FocusView, VIEWS } from "./view.mjs";
import { textFor } from "./text.mjs";

const NODE = "MagicBokehDefocusMap";
const SUBGRAPH_INPUT = "-10";
const BYPASSED = 4;

function load(url) {
  return new Promise((resolve, reject) => {
    const image = new Image();
    image.onload = () => resolve(image);
    image.onerror = () => reject(new Error(`${url} can't be loaded`));
    image.src = url;
  });
}

function address({ filename, subfolder = "", type = "output" }) {
  return api.apiURL(`/view?${new URLSearchParams({ filename, subfolder, type })}`);
}

function allGraphs(graph) {
  const root = graph.rootGraph ?? app.graph;
  return [root, ...(root.subgraphs?.values() ?? [])];
}

/** The node on the level above that stands for a subgraph. */
function hostOf(subgraph) {
  for (const graph of allGraphs(subgraph)) {
    const host = graph.nodes.find((node) => node.subgraph === subgraph);
    if (host) return host;
  }
  return null;
}

function isNested(node) {
  return Boolean(node.graph.rootGraph) && node.graph !== node.graph.rootGraph;
}

/** Key of a node's last outputs on this page. */
function locatorOf(node) {
  return isNested(node) ? `${node.graph.id}:${node.id}` : String(node.id);
}

/** Name of a node in a run: the ids of the subgraph nodes around it, then its own. */
function executionId(node) {
  return isNested(node) ? `${executionId(hostOf(node.graph))}:${node.id}` : String(node.id);
}

function linkInto(node, slot) {
  const id = node.inputs?.[slot]?.link;
  return id == null ? null : (node.graph.getLink?.(id) ?? node.graph.links[id] ?? null);
}

/** The node that makes what enters an input, through reroutes, bypassed nodes and the borders of subgraphs. */
function originOf(node, slot, steps = 0) {
  const link = node?.graph && steps < 50 ? linkInto(node, slot) : null;
  if (!link) return null;
  if (String(link.origin_id) === SUBGRAPH_INPUT) return originOf(hostOf(node.graph), link.origin_slot, steps + 1);
  const origin = node.graph.getNodeById(link.origin_id);
  if (origin?.subgraph && origin.mode !== BYPASSED) return origin.resolveSubgraphOutputLink?.(link.origin_slot)?.outputNode ?? null;
  if (origin?.type === "Reroute" || origin?.mode === BYPASSED) {
    const kind = origin.outputs?.[link.origin_slot]?.type;
    const same = origin.inputs.findIndex((other) => origin.type === "Reroute" || other.type === kind);
    return originOf(origin, same, steps + 1);
  }
  return origin;
}

/** The widget that says a value: the node's own, or where a subgraph shows it in its place, that. None if a node gives the value. */
function widgetOf(node, name) {
  const link = linkInto(node, node.inputs?.findIndex((input) => input.name === name) ?? -1);
  if (!link) return node.widgets.find((widget) => widget.name === name) ?? null;
  const host = String(link.origin_id) === SUBGRAPH_INPUT ? hostOf(node.graph) : null;
  return host ? widgetOf(host, host.inputs[link.origin_slot].name) : null;
}

/** Address of the photo that will enter the node, as far as the page knows it before a run. */
function photoOf(node) {
  const origin = originOf(node, node.inputs?.findIndex((input) => input.name === "image") ?? -1);
  if (!origin) return null;
  const output = app.nodeOutputs?.[locatorOf(origin)]?.images?.[0];
  if (output) return address(output);
  const file = origin.widgets?.find((widget) => widget.name === "image")?.value;
  const parts = typeof file === "string" && /^(?:(.*)\/)?([^/[\]]+?)(?:\s*\[(\w+)\])?$/.exec(file);
  return parts ? address({ filename: parts[2], subfolder: parts[1] ?? "", type: parts[3] ?? "input" }) : null;
}

function chain(object, name, after) {
  const before = object[name];
  object[name] = function (...values) {
    const result = before?.apply(this, values);
    after.apply(this, values);
    return result;
  };
}

class FocusNode {
  constructor(node) {
    this.node = node;
    const text = textFor(app.extensionManager?.setting?.get?.("Comfy.Locale"));
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
    for (const name of ["focus_x", "focus_y", "focus", "k", "focus_mode"]) {
      chain(this.named(name), "callback", () => this.view.redraw());
    }
    chain(node, "onExecuted", (output) => this.executed(output));
    chain(node, "onConnectionsChange", () => this.soon());
    chain(node, "onConfigure", () => this.soon());
    chain(node, "onAdded", () => this.soon());
    chain(node, "onRemoved", () => {
      clearInterval(this.timer);
      this.view.remove();
    });
    // Links further up, promoted widgets, zoom and undo tell nobody here.
    this.timer = setInterval(() => this.look(), 400);
    this.forward();
    this.soon();
  }

  // What the view asks of the node

  named(name) {
    return this.node.widgets.find((widget) => widget.name === name);
  }

  get() {
    const value = (name) => (widgetOf(this.node, name) ?? this.named(name)).value;
    return {
      x: Number(value("focus_x")),
      y: Number(value("focus_y")),
      k: Number(value("k")),
      mode: value("focus_mode"),
      value: Number(value("focus")),
      view: VIEWS.includes(this.node.properties.magicbokeh_view) ? this.node.properties.magicbokeh_view : "map",
      connected: this.node.inputs?.some((input) => input.name === "image" && input.link != null),
      locked: ["focus_x", "focus_y", "focus_mode"].some((name) => !widgetOf(this.node, name)) || Boolean(app.canvas?.read_only && !LiteGraph.vueNodesMode),
    };
  }

  set({ x, y, k, view }) {
    const put = (name, value) => {
      const widget = widgetOf(this.node, name);
      if (!widget || value === undefined || widget.value === value) return;
      widget.value = value;
      widget.callback?.(value, app.canvas, this.node);
    };
    put("focus_x", x);
    put("focus_y", y);
    if (x !== undefined) put("focus_mode", "point");
    put("k", k);
    if (view) this.node.properties.magicbokeh_view = view;
    this.node.graph?.setDirtyCanvas(true, true);
  }

  zoom() {
    return app.canvas?.ds?.scale ?? 1;
  }

  getDepth() {
    if (this.node.graph) app.queuePrompt(0, 1, [executionId(this.node)]);
  }

  done() {
    this.view.stage.dispatchEvent(new Event("change", { bubbles: true }));
  }

  // What the page tells

  soon() {
    for (const wait of [0, 50, 300]) setTimeout(() => this.look(), wait);
  }

  look() {
    const { node, view } = this;
    if (!node.graph) return;
    this.heal();
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
    const kept = { source, photo: output.magicbokeh_photo[0], disparity: output.magicbokeh_disparity[0] };
    Object.assign(kept, { found: output.magicbokeh_focus[0], size: output.magicbokeh_size });
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

  /** Nodes 2.0 keeps the element of the node that undo has replaced; put ours in its place. */
  heal() {
    if (this.view.root.isConnected) return;
    for (const element of document.querySelectorAll(".magicbokeh-focus")) {
      const other = element.magicbokeh;
      if (other !== this.node && !other.graph && String(other.id) === String(this.node.id)) {
        element.replaceWith(this.view.root);
        this.view.redraw();
        return;
      }
    }
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

// A second copy of the pack, in a folder of another name, would end in an error on the page.
if (!app.extensions.some((extension) => extension.name === "magicbokeh.focus")) {
  app.registerExtension({
    name: "magicbokeh.focus",
    nodeCreated(node) {
      if (node.comfyClass === NODE) new FocusNode(node);
    },
  });
}
