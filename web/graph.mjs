// What the page knows of the graph around a node: where its inputs come from, which widgets count, which photo it will get.

import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { textFor } from "./text.mjs";

const SUBGRAPH_INPUT = "-10";
const SUBGRAPH_OUTPUT = "-20";
const BYPASSED = 4;
const LENS_NODES = ["MagicBokehLensBlur", "MagicBokehSweep"];
const BY_HAND = ["MagicBokehDisparityTouchUp", "MagicBokehDisparityByHand"];
const DEMO_PHOTOS = { 0: "photo.jpg", 2: "noisy.jpg" }; // by output of Demo Photo

export function load(url) {
  return new Promise((resolve, reject) => {
    const image = new Image();
    image.onload = () => resolve(image);
    image.onerror = () => reject(new Error(`${url} can't be loaded`));
    image.src = url;
  });
}

export function address({ filename, subfolder = "", type = "output" }) {
  return api.apiURL(`/view?${new URLSearchParams({ filename, subfolder, type })}`);
}

function allGraphs() {
  const root = app.graph.rootGraph;
  return [root, ...root.subgraphs.values()];
}

/** Whether the node is one of the workflow on the page. One that undo has replaced still names its graph, but is not in it. */
export function isOnPage(node) {
  return allGraphs().some((graph) => graph.nodes.includes(node));
}

/**
 * Nodes 2.0 keeps the element of the node that undo has replaced; put `root`, of the node that has taken its place, there. Elements name
 * their node in `magicbokeh`.
 */
export function replaceStale(root) {
  if (root.isConnected) return;
  const id = String(root.magicbokeh.id);
  const stale = [...document.getElementsByClassName(root.className)].find(({ magicbokeh }) => String(magicbokeh.id) === id && !isOnPage(magicbokeh));
  stale?.replaceWith(root);
}

/** The node on the level above that stands for a subgraph. */
function hostOf(subgraph) {
  for (const graph of allGraphs()) {
    const host = graph.nodes.find((node) => node.subgraph === subgraph);
    if (host) return host;
  }
  return null;
}

function isNested(node) {
  return node.graph !== node.graph.rootGraph;
}

/** Key of a node's last outputs on this page. */
export function locatorOf(node) {
  return isNested(node) ? `${node.graph.id}:${node.id}` : String(node.id);
}

/** Name of a node in a run: the ids of the subgraph nodes around it, then its own. */
export function executionId(node) {
  return isNested(node) ? `${executionId(hostOf(node.graph))}:${node.id}` : String(node.id);
}

function linkInto(node, slot) {
  const id = node.inputs?.[slot]?.link;
  return id == null ? null : node.graph.getLink(id);
}

export function isConnected(node, name) {
  return node.inputs?.some((input) => input.name === name && input.link != null) ?? false;
}

/** An input's name in the user's language. */
export function nameShown(node, name) {
  const input = node.inputs?.find((other) => other.name === name);
  return input?.label ?? input?.localized_name ?? name;
}

/** The input whose value a bypassed node gives out of an output, or a reroute. */
function inputBehind(node, slot) {
  return node.inputs.findIndex((input) => node.type === "Reroute" || input.type === node.outputs[slot].type);
}

/** The node, and its output, that makes what enters an input: through reroutes, bypassed nodes and the borders of subgraphs. */
function originOf(node, slot, steps = 0) {
  const link = node?.graph && steps < 50 ? linkInto(node, slot) : null;
  if (!link) return null;
  if (String(link.origin_id) === SUBGRAPH_INPUT) return originOf(hostOf(node.graph), link.origin_slot, steps + 1);
  return makerOf(node.graph.getNodeById(link.origin_id), link.origin_slot, steps + 1);
}

/** The node, and its output, that makes what comes out of one. */
function makerOf(node, slot, steps) {
  if (node?.subgraph && node.mode !== BYPASSED) {
    const inner = node.resolveSubgraphOutputLink(slot);
    return inner ? makerOf(inner.outputNode, inner.link.origin_slot, steps) : null;
  }
  if (node?.type === "Reroute" || node?.mode === BYPASSED) {
    return originOf(node, inputBehind(node, slot), steps);
  }
  return node ? { node, slot } : null;
}

/** The nodes that take what comes out of an output: through reroutes, bypassed nodes and the borders of subgraphs. */
function takersOf(node, slot, steps = 0) {
  return (node.outputs[slot].links ?? []).flatMap((id) => takersBehind(node.graph, id, steps));
}

/** The nodes that take what a link brings. */
function takersBehind(graph, id, steps) {
  const link = graph.getLink(id);
  if (!link || steps > 50) return [];
  if (String(link.target_id) === SUBGRAPH_OUTPUT) return takersOf(hostOf(graph), link.target_slot, steps + 1);
  const node = graph.getNodeById(link.target_id);
  if (node.subgraph && node.mode !== BYPASSED) {
    return node.subgraph.inputs[link.target_slot].linkIds.flatMap((inner) => takersBehind(node.subgraph, inner, steps + 1));
  }
  if (node.type !== "Reroute" && node.mode !== BYPASSED) return [node];
  const through = [...node.outputs.keys()].filter((output) => inputBehind(node, output) === link.target_slot);
  return through.flatMap((output) => takersOf(node, output, steps + 1));
}

/** The lens that takes a node's focus or k, if one does. */
export function lensOf(node) {
  const slots = [...node.outputs.keys()].filter((slot) => ["focus", "k"].includes(node.outputs[slot].name));
  return slots.flatMap((slot) => takersOf(node, slot)).find((taker) => LENS_NODES.includes(taker.comfyClass)) ?? null;
}

/** The widget that says a value: the node's own, or where a subgraph shows it in its place, that. None if a node gives the value. */
export function widgetOf(node, name) {
  const link = linkInto(node, node.inputs?.findIndex((input) => input.name === name) ?? -1);
  if (!link) return node.widgets.find((widget) => widget.name === name) ?? null;
  const host = String(link.origin_id) === SUBGRAPH_INPUT ? hostOf(node.graph) : null;
  return host ? widgetOf(host, host.inputs[link.origin_slot].name) : null;
}

/** Address of the photo that will enter the node, as far as the page knows it before a run. */
export function photoOf(node) {
  const { node: origin, slot } = originOf(node, node.inputs?.findIndex((input) => input.name === "image") ?? -1) ?? {};
  if (!origin) return null;
  if (origin.comfyClass === "MagicBokehDemoPhoto") return new URL(`demo/${DEMO_PHOTOS[slot]}`, import.meta.url).href;
  const own = origin.widgets?.find((widget) => widget.name === "image");
  const widget = own && (widgetOf(origin, "image") ?? own);
  // The page keeps a node's outputs up to date, but not for a choice that is made on the subgraph around it.
  const output = widget === own && app.nodeOutputs[locatorOf(origin)]?.images?.[0];
  if (output) return address(output);
  const file = widget?.value;
  const parts = typeof file === "string" && /^(?:(.*)\/)?([^/[\]]+?)(?:\s*\[(\w+)\])?$/.exec(file);
  return parts ? address({ filename: parts[2], subfolder: parts[1] ?? "", type: parts[3] ?? "input" }) : null;
}

/** Address of the photo that enters a node, or of the one that its last run has left: of what other nodes make, the page has no other. */
export function photoOrMade(node) {
  const made = app.nodeOutputs[locatorOf(node)]?.magicbokeh_photo?.[0];
  return photoOf(node) ?? (made ? address(made) : null);
}

/**
 * All that is set by hand on the nodes right before a node that make and change its disparity, and the files of their masks; "" if there
 * are none of these. To show a change of it takes little work.
 */
export function handiworkOf(node) {
  const origin = originOf(node, node.inputs?.findIndex((input) => input.name === "disparity") ?? -1)?.node;
  if (!BY_HAND.includes(origin?.comfyClass)) return "";
  const values = origin.widgets.map((widget) => widgetOf(origin, widget.name)?.value ?? null);
  const masks = origin.inputs.map((input, slot) => (input.type === "MASK" ? originOf(origin, slot)?.node : null));
  const files = masks.map((maker) => (maker?.widgets && widgetOf(maker, "image")?.value) ?? null);
  return JSON.stringify([values, files]) + handiworkOf(origin);
}

/** Call `after` too whenever a method of an object is called. */
export function chain(object, name, after) {
  const before = object[name];
  object[name] = function (...values) {
    const result = before?.apply(this, values);
    after.apply(this, values);
    return result;
  };
}

/** Look at a node again and again while it is on the page. Copies that are never added, and nodes inside subgraphs, are not told to go. */
export function watch(node, milliseconds, look) {
  let timer = null;
  const turn = () => {
    if (isOnPage(node)) return look();
    clearInterval(timer);
    timer = null;
  };
  chain(node, "onAdded", () => (timer ??= setInterval(turn, milliseconds)));
}

/** Words of the page's language. */
export function wordsOfPage() {
  return textFor(app.extensionManager.setting.get("Comfy.Locale"));
}

/** Register an extension that acts on new nodes; that of a second copy of the pack, in a folder of another name, would end in an error. */
export function registerOnce(name, nodeCreated) {
  if (!app.extensions.some((extension) => extension.name === name)) app.registerExtension({ name, nodeCreated });
}
