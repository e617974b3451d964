// Keys of a focus pull as readable text, as magicbokeh_ops/keys.py reads them: `0: 0.82, 24: 0.31 ease, 48: (0.4, 0.5) k 12`.

import { clamp } from "./optics.mjs";

const EASED = {
  linear: (t) => t,
  "ease in and out": (t) => t * t * (3 - 2 * t),
  "ease in": (t) => t * t,
  "ease out": (t) => t * (2 - t),
  hold: () => 0,
};
export const MOVES = Object.keys(EASED);
const NUMBER = "[-+]?(?:\\d+\\.?\\d*|\\.\\d+)(?:e[-+]?\\d+)?";
const KEY = new RegExp(
  `^(\\d+)\\s*:\\s*(?:(${NUMBER})|\\(\\s*(${NUMBER})\\s*,\\s*(${NUMBER})\\s*\\))?\\s*(?:k\\s*(${NUMBER}))?\\s*([a-z ]*)$`,
);

/** Keys {frame, focus, point, k, move} by frame, undefined where nothing is said; null for a text that is none. */
export function readKeys(text) {
  const keys = [];
  for (const part of text.split(/[;\n]|,(?![^(]*\))/).map((one) => one.trim().toLowerCase())) {
    if (!part) continue;
    const found = part.match(KEY);
    const said = found?.[6].trim().replace(/ +/g, " ") || "linear";
    const move = said === "ease" ? "ease in and out" : said;
    if (!found || !MOVES.includes(move) || !(found[2] ?? found[3] ?? found[5])) return null;
    const [frame, focus, x, y, k] = found.slice(1, 6).map((number) => (number === undefined ? undefined : Number(number)));
    if ([focus, x, y].some((value) => value < 0 || value > 1) || k < 0 || keys.some((key) => key.frame === frame)) return null;
    keys.push({ frame, focus, point: x === undefined ? undefined : [x, y], k, move });
  }
  return keys.sort((a, b) => a.frame - b.frame);
}

export function writeKeys(keys) {
  const written = (value) => String(Math.round(value * 1e4) / 1e4);
  const text = ({ frame, focus, point, k, move }) =>
    [
      `${frame}:`,
      ...(point ? [`(${point.map(written).join(", ")})`] : focus === undefined ? [] : [written(focus)]),
      ...(k === undefined ? [] : [`k ${written(k)}`]),
      ...(move === "linear" ? [] : [move === "ease in and out" ? "ease" : move]),
    ].join(" ");
  return [...keys].sort((a, b) => a.frame - b.frame).map(text).join(", ");
}

/**
 * Focus and k that keys give at a frame, undefined if they say nothing of it.
 * look: disparity at a frame and a point, undefined if it is not known.
 */
export function atFrame(keys, frame, look) {
  const focused = keys.map((key) => ({ ...key, value: key.point ? look(key.frame, key.point) : key.focus, is: key.point ?? key.focus }));
  return {
    focus: between(focused.filter(({ is }) => is !== undefined), frame, false),
    k: between(keys.filter(({ k }) => k !== undefined).map((key) => ({ ...key, value: key.k })), frame, true),
  };
}

/** Keys with one key changed by what is given, or added, or without it if that is null. */
export function withKey(keys, frame, changed) {
  const others = keys.filter((key) => key.frame !== frame);
  const own = keys.find((key) => key.frame === frame) ?? { frame, move: "linear" };
  return changed ? [...others, { ...own, ...changed }] : others;
}

function between(places, frame, byRatio) {
  if (!places.length) return undefined;
  const next = places.findIndex((place) => place.frame > frame);
  if (next === 0) return places[0].value;
  if (next < 0) return places.at(-1).value;
  const [before, after] = [places[next - 1], places[next]];
  const t = clamp(EASED[after.move]((frame - before.frame) / (after.frame - before.frame)), 0, 1);
  if (byRatio && before.value > 0 && after.value > 0) return before.value * (after.value / before.value) ** t;
  return before.value + (after.value - before.value) * t;
}
