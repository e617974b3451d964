// Disparity By Hand on the page, against the Python library's (tests/unit/test_web.py writes it to the file in VECTORS).

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

import { textFor } from "../../web/text.mjs";
import { HANDLES, handlesOf, linesOf, moved, room } from "../../web/room.mjs";

const vectors = JSON.parse(readFileSync(process.env.VECTORS));
const close = (found, expected, by) => assert.ok(Math.abs(found - expected) <= by, `${found}, not ${expected}`);

test("ground, walls and sky are the node's", () => {
  for (const { width, height, hand, values } of vectors.rooms) {
    room(width, height, hand).forEach((value, i) => close(value, values[i], 2e-5));
  }
});

test("a handle that stays where it is changes nothing, and one that moves goes there", () => {
  for (const { width, height, hand } of vectors.rooms) {
    HANDLES.forEach((name, i) => {
      for (const [widget, value] of Object.entries(moved(name, handlesOf(hand, width, height)[i], hand, width, height))) {
        close(value, hand[widget], 2e-4);
      }
      const [x, y] = handlesOf(hand, width, height)[i];
      const after = handlesOf({ ...hand, ...moved(name, [x, y + 0.03], hand, width, height) }, width, height)[i];
      close(after[1], y + 0.03, name === "vanishing" ? 1e-3 : 0.01);
    });
  }
});

test("the horizon stays above the near end, and no wall goes below 0", () => {
  const { width, height, hand } = vectors.rooms[0];
  assert.ok(moved("vanishing", [0.5, 3], hand, width, height).horizon < hand.near_end);
  assert.ok(moved("near", [0.5, -3], hand, width, height).near_end > hand.horizon);
  for (const name of ["back", "left", "right"]) {
    assert.deepEqual(Object.values(moved(name, [0.5, -3], hand, width, height)), [0]);
  }
});

test("lines lie where two surfaces are equally near", () => {
  for (const { width, height, hand } of vectors.rooms) {
    const walls = [hand.left_wall, hand.right_wall].filter((wall) => wall > 0).length;
    const lines = linesOf(hand, width, height);
    assert.equal(lines.length, 2 + (hand.back_wall > 0) * (1 + walls) + walls);
    const [horizon, near] = lines;
    for (const [line, level] of [[horizon, 0], [near, 1]]) {
      const alone = { ...hand, back_wall: 0, left_wall: 0, right_wall: 0, near_end: hand.near_end };
      const [[x0, y0], [x1, y1]] = line;
      const y = y0 + ((0.5 - x0) / (x1 - x0)) * (y1 - y0);
      const at = room(1, 1000, { ...alone, horizon_tilt: 0 })[Math.min(999, Math.max(0, Math.round(y * 1000)))];
      if (y > 0 && y < 0.999) close(at, level, 0.01);
    }
  }
});

test("every language has all words of the view", () => {
  const keys = (tree) => Object.entries(tree).map(([key, value]) => [key, typeof value === "object" ? keys(value) : null]);
  for (const language of ["zh", "ja"]) assert.deepEqual(keys(textFor(language).hand), keys(textFor("en").hand));
});
