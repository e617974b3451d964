// Click on the photo of Disparity Touch-Up for the point whose value is taken: ties the view to the node.

import { isConnected, nameShown, photoOrMade, registerOnce, widgetOf, wordsOfPage } from "./graph.mjs";
import { TouchUpView } from "./touch_up_view.mjs";
import { ViewNode } from "./view_node.mjs";

const NODE = "MagicBokehDisparityTouchUp";
const POINT = ["point_x", "point_y"];
const TAKES_A_POINT = "value of a point"; // the operation

class TouchUpNode extends ViewNode {
  constructor(node) {
    const words = wordsOfPage();
    const text = { ...words, ...words.touchUp };
    const widgets = ["operation", ...POINT];
    super(node, new TouchUpView(null, text), { name: "touch_up_view", type: "MAGICBOKEH_TOUCH_UP_VIEW", label: text.photo, widgets });
  }

  get() {
    const own = POINT.map((name) => widgetOf(this.node, name));
    const takes = widgetOf(this.node, "operation")?.value === TAKES_A_POINT;
    const known = takes && own.every(Boolean); // what another node gives is known to it alone
    return {
      points: known ? [own.map((widget) => widget.value)] : [],
      names: POINT.map((name) => nameShown(this.node, name)),
      takes,
      connected: isConnected(this.node, "image"),
      locked: !known || this.isReadOnly(),
    };
  }

  set({ point }) {
    POINT.forEach((name, i) => this.put(name, point[i]));
    this.node.graph?.setDirtyCanvas(true, true);
  }

  photo() {
    return photoOrMade(this.node);
  }
}

registerOnce("magicbokeh.touch_up", (node) => {
  if (node.comfyClass === NODE) new TouchUpNode(node);
});
