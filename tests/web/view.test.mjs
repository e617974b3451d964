// The page's rules, against values that the Python library gave (tests/unit/test_web.py writes them to the file in VECTORS).

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

import { textFor } from "../../web/text.mjs";
import { contain, focusFromPoint, focusMap, levelled, planeThrough, pointAt, signedDefocus, unpack } from "../../web/optics.mjs";

const vectors = JSON.parse(readFileSync(process.env.VECTORS));

test("a picture is contained whole, in the middle", () => {
  assert.deepEqual(contain(300, 200, 600, 200), { x: 0, y: 50, width: 300, height: 100 });
  assert.deepEqual(contain(300, 200, 100, 400), { x: 125, y: 0, width: 50, height: 200 });
});

test("a click finds its place at every zoom", () => {
  const place = contain(300, 200, 600, 200);
  for (const zoom of [0.5, 1, 1.75]) {
    const rect = { left: 40, top: 60, width: 300 * zoom };
    assert.deepEqual(pointAt(40 + 75 * zoom, 60 + 90 * zoom, rect, 300, place), [0.25, 0.4]);
    assert.deepEqual(pointAt(0, 1000, rect, 300, place), [0, 1]);
  }
});

test("disparity comes back from two bytes", () => {
  assert.deepEqual([...unpack(Uint8ClampedArray.from(vectors.packed.bytes))], vectors.packed.values.map(Math.fround));
});

test("the disparity under a point is the node's", () => {
  for (const { width, height, values, points } of vectors.points) {
    for (const { x, y, focus } of points) {
      assert.equal(Math.fround(focusFromPoint(Float32Array.from(values), width, height, x, y)), Math.fround(focus), `${x}, ${y}`);
    }
  }
});

test("green is exactly what the node's focus mask holds", () => {
  for (const { values, focus, mask, ...lens } of vectors.bands) {
    const found = values.map((value) => Math.abs(signedDefocus(Math.fround(value), focus, lens)) <= Math.fround(0.1));
    assert.deepEqual(found, mask);
  }
});

test("the focus map has the overlay's colours", () => {
  const { photo, values, focus, overlay, ...lens } = vectors.overlay;
  const out = new Uint8ClampedArray(photo.length);
  focusMap(Uint8ClampedArray.from(photo), Float32Array.from(values), focus, lens, out);
  overlay.forEach((value, i) => assert.ok(Math.abs(out[i] - value) <= 1, `${i}: ${out[i]}, not ${value}`));
});

test("a focal plane is tilted as the node tilts it", () => {
  for (const { width, height, tilt, values, points, ...found } of vectors.tilts) {
    const disparity = Float32Array.from(values);
    assert.deepEqual(levelled(disparity, width, height, tilt), Float32Array.from(found.levelled));
    for (const { x, y, focus } of points) {
      assert.equal(focusFromPoint(disparity, width, height, x, y, tilt), Math.fround(focus), `${x}, ${y}`);
    }
  }
});

test("the plane through three points is the node's", () => {
  for (const { width, height, corners, plane } of vectors.tilts) {
    const { focus, tilt, direction } = planeThrough(corners, width, height);
    [focus, tilt, direction].forEach((value, i) => assert.ok(Math.abs(value - plane[i]) < 1e-9 * (1 + Math.abs(plane[i]))));
  }
  const onLine = [[0.1, 0.1, 0.2], [0.5, 0.5, 0.9], [0.9, 0.905, 0.1]];
  assert.equal(planeThrough(onLine, 300, 200), null);
  assert.equal(planeThrough([onLine[0], onLine[0], onLine[1]], 300, 200), null);
});

test("all languages have all words", () => {
  const keys = ({ values, titles, ...words }) => [...Object.keys(words), ...Object.keys(titles)];
  const english = textFor("en");
  for (const language of ["zh", "ja"]) {
    assert.deepEqual(keys(textFor(language)), keys(english));
    assert.deepEqual(Object.keys(textFor(language).values).sort(), vectors.choices);
    assert.notEqual(textFor(language).photo, english.photo);
  }
  for (const language of ["fr", "zh-TW", undefined]) assert.equal(textFor(language), english);
});
