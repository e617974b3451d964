// Ground, horizon and walls drawn on the photo of Disparity By Hand: ties the view to the node.

import { isConnected, nameShown, photoOrMade, registerOnce, widgetOf, wordsOfPage } from "./graph.mjs";
import { HandView, VIEWS } from "./hand_view.mjs";
import { ViewNode } from "./view_node.mjs";

const NODE = "MagicBokehDisparityByHand";
const WIDGETS = ["horizon", "near_end", "horizon_tilt", "back_wall", "left_wall", "right_wall", "vanishing_x"];

class HandNode extends ViewNode {
  constructor(node) {
    const words = wordsOfPage();
    const text = { ...words, ...words.hand };
    super(node, new HandView(null, text), { name: "hand_view", type: "MAGICBOKEH_HAND_VIEW", label: text.lines, widgets: WIDGETS });
  }

  get() {
    const each = (of) => Object.fromEntries(WIDGETS.map((name) => [name, of(name)]));
    return {
      // What another node gives is known to it alone.
      hand: each((name) => (widgetOf(this.node, name) ?? this.named(name)).value),
      names: each((name) => nameShown(this.node, name)),
      view: VIEWS.includes(this.node.properties.magicbokeh_view) ? this.node.properties.magicbokeh_view : "lines",
      connected: isConnected(this.node, "image"),
      locked: this.isReadOnly(),
    };
  }

  set({ hand = {}, view }) {
    for (const [name, value] of Object.entries(hand)) this.put(name, value);
    if (view) this.node.properties.magicbokeh_view = view;
    this.node.graph?.setDirtyCanvas(true, true);
  }

  photo() {
    return isConnected(this.node, "image") ? photoOrMade(this.node) : null;
  }
}

registerOnce("magicbokeh.hand", (node) => {
  if (node.comfyClass === NODE) new HandNode(node);
});
