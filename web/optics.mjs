// What the focus view computes, as magicbokeh_ops/focus.py, focal_plane.py, defocus.py and overlay.py do.

const K_TRAINED = 32;
export const SOFT_END = 0.25; // of a focus range over which the blur beyond it begins
const THRESHOLD = Math.fround(0.1);
const IN_FOCUS = [77, 217, 89];
const IN_FRONT = [255, 140, 26];
const BEHIND = [51, 128, 255];

export const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

/** Where a picture lies in a box that contains it whole: {x, y, width, height}. */
export function contain(width, height, pictureWidth, pictureHeight) {
  const scale = Math.min(width / pictureWidth, height / pictureHeight);
  const [w, h] = [pictureWidth * scale, pictureHeight * scale];
  return { x: (width - w) / 2, y: (height - h) / 2, width: w, height: h };
}

/** A point of the screen as 0..1 from the picture's left and top. rect: of the box on screen, zoomed or not; width: its own. */
export function pointAt(clientX, clientY, rect, width, place) {
  const zoom = rect.width / width;
  const round = (value) => Math.round(clamp(value, 0, 1) * 1e4) / 1e4;
  return [
    round(((clientX - rect.left) / zoom - place.x) / place.width),
    round(((clientY - rect.top) / zoom - place.y) / place.height),
  ];
}

/** Disparity in 0..1 from RGBA bytes: high byte in red, low byte in green. */
export function unpack(bytes) {
  const values = new Float32Array(bytes.length / 4);
  for (let i = 0; i < values.length; i++) values[i] = (bytes[4 * i] * 256 + bytes[4 * i + 1]) / 65535;
  return values;
}

/** Disparity by which the focal plane rises per pixel to the right and down. tilt: {tilt, direction}, as the node has them. */
export function slopes(width, height, { tilt, direction }) {
  const [steepness, angle] = [tilt / Math.max(width, height), (direction * Math.PI) / 180];
  return [steepness * Math.sin(angle), steepness * Math.cos(angle)];
}

/** Disparity as it is to a focal plane that has been levelled, in single precision as `tilted`. */
export function levelled(disparity, width, height, tilt) {
  if (!tilt.tilt) return disparity;
  const [right, down] = slopes(width, height, tilt).map(Math.fround);
  const across = Float32Array.from({ length: width }, (_, column) => right * (column + 0.5 - width / 2));
  const out = new Float32Array(disparity.length);
  for (let row = 0, i = 0; row < height; row++) {
    const along = Math.fround(down * (row + 0.5 - height / 2));
    for (let column = 0; column < width; column++, i++) out[i] = disparity[i] - Math.fround(across[column] + along);
  }
  return out;
}

/**
 * The plane through three points [x, y, disparity] of a picture, x and y in 0..1, as plane_through: {focus, tilt, direction}.
 * null if they lie on a line.
 */
export function planeThrough(points, width, height) {
  const [first, ...rest] = points.map(([x, y, disparity]) => [(x - 0.5) * width, (y - 0.5) * height, disparity]);
  const [[ax, ay, a], [bx, by, b]] = rest.map((point) => point.map((value, i) => value - first[i]));
  const area = ax * by - ay * bx;
  const longest = Math.max(Math.hypot(ax, ay), Math.hypot(bx, by), Math.hypot(ax - bx, ay - by));
  if (Math.abs(area) <= 0.01 * Math.max(width, height) * longest) return null;
  const [right, down] = [(a * by - b * ay) / area, (b * ax - a * bx) / area];
  return {
    focus: first[2] - right * first[0] - down * first[1],
    tilt: Math.max(width, height) * Math.hypot(right, down),
    direction: (Math.atan2(right, down) * 180) / Math.PI,
  };
}

const LEVEL = { tilt: 0, direction: 0 };

/**
 * Disparity under a point, as it is to a levelled focal plane: the lower median over a disc of 1 % of the shorter side, as
 * focus_from_point.
 */
export function focusFromPoint(disparity, width, height, x, y, tilt = LEVEL) {
  const column = Math.min(Math.trunc(x * width), width - 1);
  const row = Math.min(Math.trunc(y * height), height - 1);
  const radius = Math.max(1, 0.01 * Math.min(height, width));
  const reach = Math.trunc(radius) + 1;
  const found = [];
  const [right, down] = slopes(width, height, tilt).map(Math.fround);
  const rise = (r, c) => Math.fround(Math.fround(right * (c + 0.5 - width / 2)) + Math.fround(down * (r + 0.5 - height / 2)));
  for (let r = Math.max(row - reach, 0); r <= Math.min(row + reach, height - 1); r++) {
    for (let c = Math.max(column - reach, 0); c <= Math.min(column + reach, width - 1); c++) {
      const inside = (r + 0.5 - y * height) ** 2 + (c + 0.5 - x * width) ** 2 <= radius ** 2;
      if (inside || (r === row && c === column)) found.push(Math.fround(disparity[r * width + c] - rise(r, c)));
    }
  }
  found.sort((a, b) => a - b);
  return found[(found.length - 1) >> 1];
}

/** A distance from the focus as the blur grows with it, as signed_radius. lens: {range, falloff}. */
export function beyond(distance, { range, falloff }) {
  if (!range && falloff === 1) return distance;
  let away = Math.abs(distance);
  if (range) away = Math.max(away - range / 2, 0) ** 2 / (Math.max(away - range / 2, 0) + range * SOFT_END);
  return Math.sign(distance) * away ** falloff;
}

/** Blur radius / 32, positive in front of the focus, in single precision as the node has it. lens: {k, range, falloff}. */
export function signedDefocus(disparity, focus, lens) {
  const distance = beyond(Math.fround(disparity - Math.fround(focus)), lens);
  return Math.fround(Math.fround(Math.fround(lens.k) * Math.fround(distance)) / K_TRAINED);
}

/**
 * Tint RGBA bytes by where the focus lies, as focus_overlay: green in focus, orange in front of it, blue behind.
 * disparity: as `levelled`.
 */
export function focusMap(photo, disparity, focus, lens, out) {
  for (let i = 0, p = 0; i < disparity.length; i++, p += 4) {
    const defocus = signedDefocus(disparity[i], focus, lens);
    const size = Math.abs(defocus);
    const blurred = size > THRESHOLD;
    const strength = blurred ? 0.25 + 0.45 * Math.min(size, 1) : 0.35;
    const tint = blurred ? (defocus > 0 ? IN_FRONT : BEHIND) : IN_FOCUS;
    const keep = 0.5 * (1 - strength);
    // No loop over the channels: it takes half as long again.
    const [red, green, blue] = [photo[p], photo[p + 1], photo[p + 2]];
    const grey = (red + green + blue) / 3;
    out[p] = (red + grey) * keep + tint[0] * strength;
    out[p + 1] = (green + grey) * keep + tint[1] * strength;
    out[p + 2] = (blue + grey) * keep + tint[2] * strength;
    out[p + 3] = 255;
  }
}
