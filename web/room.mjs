// Ground, horizon and walls of Disparity By Hand: the disparity as magicbokeh_ops/by_hand.py has it, and the handles that change it.
//
// hand: what the node's widgets say, {horizon, near_end, horizon_tilt, back_wall, left_wall, right_wall, vanishing_x}.

import { clamp } from "./optics.mjs";

const TILT_AT = 0.92; // of the width
const BACK_AT = -0.25; // of the width from the middle
const LEAST = 0.02; // of the height, from the horizon to the near end
const STEEPEST = 45;
const NEAREST_WALL = 8;

export const HANDLES = ["vanishing", "tilt", "near", "back", "left", "right"];

/** Of a picture of this size, in pixels: how far below and along the horizon a place (0..1) is, the place that is so far, and what lies where. */
function frameOf(hand, width, height) {
  const angle = (hand.horizon_tilt * Math.PI) / 180;
  const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
  return {
    of(x, y) {
      const [across, down] = [(x - 0.5) * width, (y - hand.horizon) * height];
      return { below: down * cos + across * sin, along: across * cos - down * sin };
    },
    at(along, below) {
      return [0.5 + (along * cos + below * sin) / width, hand.horizon + (below * cos - along * sin) / height];
    },
    near: (hand.near_end - hand.horizon) * height * cos,
    vanishing: ((hand.vanishing_x - 0.5) * width) / cos,
    half: width / 2 / cos,
    fall: (width / height) * Math.tan(angle), // of the horizon to the left, in heights over the width
  };
}

function wallsOf({ left_wall, right_wall }, { half }) {
  return [[left_wall, -half], [right_wall, half]].filter(([wall]) => wall > 0);
}

/** Disparity of ground, walls and sky, row by row. */
export function room(width, height, hand) {
  const frame = frameOf(hand, width, height);
  const walls = wallsOf(hand, frame);
  return Float32Array.from({ length: width * height }, (_, i) => {
    const { below, along } = frame.of(((i % width) + 0.5) / width, (Math.floor(i / width) + 0.5) / height);
    let found = Math.max(below / frame.near, hand.back_wall);
    for (const [wall, edge] of walls) found = Math.max(found, (wall * (along - frame.vanishing)) / (edge - frame.vanishing));
    return clamp(found, 0, 1);
  });
}

/** Where the handles are, [x, y] each in the order of HANDLES: 0..1 in the picture, or beyond it. */
export function handlesOf(hand, width, height) {
  const { at, near, half, fall } = frameOf(hand, width, height);
  return [
    [hand.vanishing_x, hand.horizon - (hand.vanishing_x - 0.5) * fall],
    [TILT_AT, hand.horizon - (TILT_AT - 0.5) * fall],
    [0.5, hand.near_end],
    at(BACK_AT * width, hand.back_wall * near),
    at(-half, hand.left_wall * near),
    at(half, hand.right_wall * near),
  ];
}

/** What the widgets say when a handle has come to a place. */
export function moved(name, [x, y], hand, width, height) {
  const { of, near, fall } = frameOf(hand, width, height);
  const disparity = of(x, y).below / near;
  const found = {
    vanishing: { vanishing_x: clamp(x, 0.01, 0.99), horizon: clamp(y + (x - 0.5) * fall, -4, hand.near_end - LEAST) },
    tilt: { horizon_tilt: clamp((Math.atan2((hand.horizon - y) * height, Math.max(x - 0.5, 0.1) * width) * 180) / Math.PI, -STEEPEST, STEEPEST) },
    near: { near_end: clamp(y, hand.horizon + LEAST, 8) },
    back: { back_wall: clamp(disparity, 0, 1) },
    left: { left_wall: clamp(disparity, 0, NEAREST_WALL) },
    right: { right_wall: clamp(disparity, 0, NEAREST_WALL) },
  }[name];
  return Object.fromEntries(Object.entries(found).map(([widget, value]) => [widget, Math.round(value * 1e4) / 1e4]));
}

/** Lines where surfaces meet, [from, to] each, some of them far beyond the picture. */
export function linesOf(hand, width, height) {
  const frame = frameOf(hand, width, height);
  const { at, near, vanishing } = frame;
  const far = 4 * Math.max(width, height);
  const level = (below) => [at(-far, below), at(far, below)];
  const lines = [level(0), level(near)];
  if (hand.back_wall > 0) lines.push(level(hand.back_wall * near));
  for (const [wall, edge] of wallsOf(hand, frame)) {
    // Ground and wall meet along a line through the vanishing point, and wall and wall in an upright one.
    const foot = (share) => [vanishing + share * (edge - vanishing), share * wall * near];
    const begin = foot(hand.back_wall / wall);
    lines.push([at(...begin), at(...foot(8))]);
    if (hand.back_wall > 0) lines.push([at(...begin), at(begin[0], -far)]);
  }
  return lines;
}
