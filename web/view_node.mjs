// Ties a view to a node: what the views of all nodes share. All state is in the node's own widgets, so that prompts and pages without
// this script work the same.

import { app } from "../../scripts/app.js";
import { chain, isOnPage, load, photoOf, replaceStale, watch, widgetOf } from "./graph.mjs";

export class ViewNode {
  /** name, type: of the widget that holds the view; label: App mode shows it above; widgets: names of those that the view shows. */
  constructor(node, view, { name, type, label, widgets }) {
    this.node = node;
    this.view = view;
    view.model = this;
    view.root.magicbokeh = node;
    this.widget = node.addDOMWidget(name, type, view.root, {
      serialize: false,
      hideOnZoom: false,
      hideInPanel: true,
      getMinHeight: () => 260,
      getValue: () => "",
      setValue: () => {},
    });
    this.widget.serialize = false;
    this.widget.label = label;
    const [width, height] = node.computeSize();
    node.setSize([Math.max(node.size[0], width, 320), Math.max(node.size[1], height)]);
    for (const shown of widgets) chain(this.named(shown), "callback", () => view.redraw());
    chain(node, "onExecuted", (output) => this.executed(output));
    chain(node, "onConnectionsChange", () => this.soon());
    chain(node, "onConfigure", () => this.soon());
    chain(node, "onAdded", () => this.soon());
    chain(node, "onRemoved", () => view.remove());
    // Links further up, promoted widgets, zoom and undo tell nobody here.
    watch(node, 400, () => this.look());
    this.forward();
  }

  named(name) {
    return this.node.widgets.find((widget) => widget.name === name);
  }

  /** Set a widget, unless another node gives its value. */
  put(name, value) {
    const widget = widgetOf(this.node, name);
    if (!widget || value === undefined || widget.value === value) return;
    widget.value = value;
    widget.callback?.(value, app.canvas, this.node);
  }

  zoom() {
    return app.canvas.ds.scale;
  }

  /** What was changed by keys, wheel or a button: the page takes its snapshots for undo at mouseup. */
  done() {
    this.view.stage.dispatchEvent(new MouseEvent("mouseup", { bubbles: true }));
  }

  isReadOnly() {
    return app.canvas.read_only && !LiteGraph.vueNodesMode;
  }

  soon() {
    for (const wait of [0, 50, 300]) setTimeout(() => isOnPage(this.node) && this.look(), wait);
  }

  look() {
    const { node, view } = this;
    replaceStale(view.root);
    if (!view.root.isConnected) return;
    const source = this.photo();
    if (source !== this.source) this.show(source);
    const seen = JSON.stringify([this.get(), Math.round(4 * this.zoom())]);
    if (seen !== this.seen) view.redraw();
    this.seen = seen;
  }

  /** Address of what is shown. */
  photo() {
    return photoOf(this.node);
  }

  async show(source) {
    this.source = source;
    const turn = (this.turn = (this.turn ?? 0) + 1);
    const photo = source && (await load(source).catch(() => null));
    if (turn === this.turn) this.view.setPhoto(photo);
  }

  executed() {
    this.soon();
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
