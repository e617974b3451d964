// The view of Disparity Touch-Up: the point whose value is taken, on the photo. Knows nothing of ComfyUI.

import { PointView } from "./point_view.mjs";

/**
 * model: get() -> {points, names, takes, locked, connected} of the node: the point, if there is one that is known; names of point_x and
 * point_y as shown; whether the operation takes one; zoom(); set({point}); done(), after a change by key, for undo.
 */
export class TouchUpView extends PointView {
  constructor(model, text) {
    super(model, text, []);
  }

  paint(context, place, state) {
    this.hint.textContent = this.describe(state);
    if (!place) return;
    context.drawImage(this.photo, place.x, place.y, place.width, place.height);
    this.paintPoints(context, place, state);
  }

  describe({ points, names, takes, connected }) {
    const { text } = this;
    if (!takes) return text.noPoint;
    if (!this.photo) return connected ? text.noPicture : text.noPhoto;
    return points.flat().map((value, i) => `${names[i]} ${value.toFixed(2)}`).join(", ");
  }
}
