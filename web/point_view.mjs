// A photo with points on it, set by click, by dragging and by arrow keys. Knows nothing of ComfyUI.

import { clamp, pointAt } from "./optics.mjs";
import { PhotoView, step } from "./photo_view.mjs";

/** Which of the points lies nearest to another one in a picture of this size on the screen; the first if there are none. */
function nearest(points, [x, y], { width, height }) {
  const away = points.map((point) => Math.hypot((point[0] - x) * width, (point[1] - y) * height));
  return Math.max(0, away.indexOf(Math.min(...away)));
}

/** model: get() -> {points, locked} and more, the points [x, y] each; set({point: [x, y], which}). */
export class PointView extends PhotoView {
  constructor(model, text, views) {
    super(model, text, views);
    this.taken = 0; // which of the points is moved
  }

  /** The points that are shown. */
  pointsOf({ points }) {
    return points;
  }

  /** Those that arrow keys move. */
  startOf({ points }) {
    return points;
  }

  paintPoints(context, place, state) {
    this.pointsOf(state).forEach(([x, y], i, { length }) => {
      const [across, down] = [place.x + x * place.width, place.y + y * place.height];
      this.cross(context, across, down, state.locked);
      // Left of the cross or below it where there is no room on its upper right.
      if (length > 1) this.number(context, across + (across > this.stage.clientWidth - 24 ? -13 : 13), down + (down < 20 ? 13 : -13), i + 1);
    });
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

  point(event) {
    const { stage } = this;
    const place = this.place();
    const state = this.model.get();
    if (!place || state.locked) return;
    const point = pointAt(event.clientX, event.clientY, stage.getBoundingClientRect(), stage.clientWidth, place);
    if (event.type === "pointerdown") this.taken = nearest(this.pointsOf(state), point, place);
    this.move(point, this.taken);
    this.redraw();
  }

  move(point, which) {
    this.model.set({ point, which });
  }

  press(key, event) {
    const move = step(key, event);
    if (!move) return false;
    const state = this.model.get();
    const points = this.startOf(state);
    if (!state.locked) {
      const which = this.taken < points.length ? this.taken : 0;
      const point = points[which].map((value, i) => Math.round(clamp(value + move[i], 0, 1) * 1e4) / 1e4);
      this.move(point, which);
    }
    return true;
  }
}
