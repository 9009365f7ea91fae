/** Reading: counts, the line above the new messages, and marks. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { Reading } from "../public/reading.js";

function setup() {
  const marks = [];
  return { reading: new Reading((offset) => marks.push(offset)), marks };
}

test("unread messages are counted, and the line stands above the first", () => {
  const { reading } = setup();
  reading.count({ readOffset: 10, count: 2, mentions: 1 }, false);
  assert.deepEqual([reading.unread, reading.mentions, reading.unreadAfter], [2, 1, 10]);
  reading.count({ readOffset: 10, count: 3, mentions: 1 }, false);
  assert.deepEqual([reading.unread, reading.unreadAfter], [3, 10]);
});

test("a channel that was never read has no line: all of it is new", () => {
  const { reading } = setup();
  reading.count({ readOffset: 0, count: 170, mentions: 0 }, false);
  assert.deepEqual([reading.unread, reading.unreadAfter], [170, Infinity]);
});

test("a look at the end clears the badge and marks; the line stays until the channel is left", () => {
  const { reading, marks } = setup();
  reading.count({ readOffset: 10, count: 2, mentions: 1 }, false);
  reading.seen(12);
  assert.deepEqual([reading.unread, reading.mentions, reading.unreadAfter], [0, 0, 10]);
  assert.deepEqual(marks, [12]);
  reading.settle();
  assert.equal(reading.unreadAfter, Infinity);
});

test("what comes while one reads is neither counted nor lined", () => {
  const { reading, marks } = setup();
  reading.count({ readOffset: 10, count: 1, mentions: 1 }, true);
  reading.seen(11);
  assert.deepEqual([reading.unread, reading.mentions, reading.unreadAfter], [0, 0, Infinity]);
  assert.deepEqual(marks, [11]);
});

test("the line is below all that was on the page, wherever the mark is", () => {
  const { reading } = setup();
  reading.seen(20);
  reading.count({ readOffset: 15, count: 1, mentions: 0 }, false);
  assert.equal(reading.unreadAfter, 20);
});

test("the same place is marked once", () => {
  const { reading, marks } = setup();
  for (const offset of [5, 5, 4, 7]) reading.seen(offset);
  assert.deepEqual(marks, [5, 7]);
});

test("what is read on another device is read", () => {
  const { reading } = setup();
  reading.count({ readOffset: 10, count: 2, mentions: 1 }, false);
  reading.count({ readOffset: 12, count: 0, mentions: 0 }, false);
  assert.deepEqual([reading.unread, reading.mentions], [0, 0]);
});

test("another log begins anew", () => {
  const { reading, marks } = setup();
  reading.seen(50);
  reading.reset();
  reading.seen(3);
  assert.deepEqual(marks, [50, 3]);
});

test("the way to the line is shown until the line was seen, and anew for the next line", () => {
  const { reading } = setup();
  reading.count({ readOffset: 10, count: 2, mentions: 0 }, false);
  reading.count({ readOffset: 10, count: 300, mentions: 0 }, false);
  reading.seen(310);
  assert.deepEqual([reading.fresh, reading.unread, reading.wasFound], [300, 0, false]);
  reading.wasFound = true;
  reading.count({ readOffset: 310, count: 4, mentions: 0 }, false);
  assert.deepEqual([reading.fresh, reading.unreadAfter, reading.wasFound], [4, 310, false]);
});
