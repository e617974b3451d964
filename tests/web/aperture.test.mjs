// The preview's apertures, against rays of the Python library's (tests/unit/test_web.py writes them to the file in VECTORS).

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

import { LENSES, apertureOf, gather, heightAt, weightAt, widths } from "../../web/aperture.mjs";

const vectors = JSON.parse(readFileSync(process.env.VECTORS));

test("the named lenses are the node's", () => assert.deepEqual(LENSES, vectors.lenses));

test("every ray goes through the opening, with the weight that the node gives it", () => {
  for (const { lens, own, sides } of vectors.apertures) {
    const aperture = apertureOf(lens, own);
    sides.forEach(({ points, weights }, inFront) => {
      const wide = widths(aperture.fringing, inFront === 1);
      const green = points.at(points.length === 3 ? 1 : 0);
      green.forEach(([x, y], i) => {
        const height = heightAt(aperture, x, y);
        assert.ok(height >= aperture.ring - 1e-5 && height <= 1 + 1e-5, `${lens}: ${height}`);
        const weight = aperture.spherical ? weightAt(height, inFront ? -aperture.spherical : aperture.spherical) : 1;
        assert.ok(Math.abs(weight - weights[i]) < 1e-4, `${lens}: ${weight}, not ${weights[i]}`);
        points.forEach((band, color) => assert.ok(Math.abs(band[i][0] - x * (points.length === 3 ? wide[color] : 1)) < 1e-5));
      });
    });
  }
});

test("the preview looks for light all over the opening, behind the focus and, upside down, in front of it", () => {
  for (const { lens, own, moments } of vectors.apertures) {
    const aperture = apertureOf(lens, own);
    const { points, spread, light } = gather(aperture, 4000);
    assert.ok(points.length <= 4000 && points.length > 3900);
    for (const [side, sign] of [[2, -1], [3, 1]]) {
      const open = points.filter((point) => point[side] >= aperture.ring && point[side] <= 1);
      assert.ok(Math.abs(open.length * spread - light) < 0.01);
      const mean = (value) => open.reduce((sum, point) => sum + value(point), 0) / open.length;
      [0, 1].forEach((i) => {
        const [square, cube] = moments.map((moment) => moment[i]);
        assert.ok(Math.abs(mean((point) => point[i] ** 2) / square - 1) < 0.02, `${lens} ${side}`);
        assert.ok(Math.abs(mean((point) => (sign * point[i]) ** 3) - cube) < 0.003, `${lens} ${side}`);
      });
    }
  }
});
