// Keys of a focus pull, as the Python library reads them (tests/unit/test_web.py writes them to the file in VECTORS).

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

import { atFrame, readKeys, withKey, writeKeys } from "../../web/keys.mjs";

const vectors = JSON.parse(readFileSync(process.env.VECTORS));
const look = (frame, [x, y]) => (frame + 100 * x + 10 * y) / 200;

test("keys give what the node makes of them at every frame", () => {
  for (const { text, focus, k } of vectors.keys) {
    const keys = readKeys(text);
    for (const written of [keys, readKeys(writeKeys(keys))]) {
      for (let frame = 0; frame < 60; frame++) {
        const found = atFrame(written, frame, look);
        for (const [one, each] of [[found.focus, focus], [found.k, k]]) {
          assert.ok(each === null ? one === undefined : Math.abs(one - each[frame]) < 1e-4, `${text}, frame ${frame}: ${one}`);
        }
      }
    }
  }
});

test("what the node refuses is no key here", () => {
  for (const text of vectors.noKeys) assert.equal(readKeys(text), null, text);
});

test("a key is added, changed and taken away", () => {
  const keys = readKeys("0: 0.5, 10: (0.25, 0.5) k 12 ease");
  assert.equal(writeKeys(withKey(keys, 10, { point: undefined, focus: 0.3 })), "0: 0.5, 10: 0.3 k 12 ease");
  assert.equal(writeKeys(withKey(keys, 5, { focus: 0.12345 })), "0: 0.5, 5: 0.1235, 10: (0.25, 0.5) k 12 ease");
  assert.equal(writeKeys(withKey(withKey(keys, 10, null), 0, null)), "");
});
