/** Reading: counts, the line above the new messages, and marks that do not flood the server. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { Reading } from "../public/reading.js";

/** A server that takes marks, and a clock that is moved by hand. */
function setup() {
  const world = { marks: [], at: 0, due: [], refuse: false };
  const timers = { now: () => world.at, set: (act, ms) => world.due.push({ act, at: world.at + ms }) };
  const mark = async (offset) => {
    if (world.refuse) throw new Error("offline");
    world.marks.push(offset);
  };
  const pass = async (ms) => {
    world.at += ms;
    const due = world.due.filter(({ at }) => at <= world.at);
    world.due = world.due.filter(({ at }) => at > world.at);
    for (const { act } of due) act();
    await new Promise((resolve) => setImmediate(resolve));
  };
  return { reading: new Reading(mark, timers), world, pass };
}

test("unread messages are counted, and the line stands above the first", () => {
  const { reading } = setup();
  reading.count({ offset: 10, count: 2, mentions: 1 }, false);
  assert.deepEqual([reading.unread, reading.mentions, reading.unreadAfter], [2, 1, 10]);
  reading.count({ offset: 10, count: 3, mentions: 1 }, false);
  assert.deepEqual([reading.unread, reading.unreadAfter], [3, 10]);
});

test("a channel that was never read has no line: all of it is new", () => {
  const { reading } = setup();
  reading.count({ offset: 0, count: 170, mentions: 0 }, false);
  assert.deepEqual([reading.unread, reading.unreadAfter], [170, Infinity]);
});

test("looking at the end clears the badge and marks; the line stays until the channel is left", async () => {
  const { reading, world, pass } = setup();
  reading.count({ offset: 10, count: 2, mentions: 1 }, false);
  reading.seen(12);
  assert.deepEqual([reading.unread, reading.mentions, reading.unreadAfter], [0, 0, 10]);
  await pass(0);
  assert.deepEqual(world.marks, [12]);
  reading.settle();
  assert.equal(reading.unreadAfter, Infinity);
});

test("what comes while one reads is neither counted nor lined", () => {
  const { reading } = setup();
  reading.count({ offset: 10, count: 1, mentions: 1 }, true);
  reading.seen(11);
  assert.deepEqual([reading.unread, reading.mentions, reading.unreadAfter], [0, 0, Infinity]);
});

test("a mark that is still under way does not put the line too high", async () => {
  const { reading } = setup();
  reading.seen(20);
  reading.count({ offset: 15, count: 1, mentions: 0 }, false);
  assert.equal(reading.unreadAfter, 20);
});

test("many looks are at most a mark a second, of the furthest place", async () => {
  const { reading, world, pass } = setup();
  for (let offset = 1; offset <= 50; offset++) reading.seen(offset);
  await pass(0);
  for (let offset = 51; offset <= 99; offset++) reading.seen(offset);
  await pass(500);
  assert.deepEqual(world.marks, [50]);
  await pass(500);
  assert.deepEqual(world.marks, [50, 99]);
  reading.seen(99);
  await pass(1_000);
  assert.deepEqual(world.marks, [50, 99]);
});

test("a mark that is refused is made at the next look", async () => {
  const { reading, world, pass } = setup();
  world.refuse = true;
  reading.seen(5);
  await pass(0);
  world.refuse = false;
  reading.seen(5);
  await pass(1_000);
  assert.deepEqual(world.marks, [5]);
});

test("another log begins anew", async () => {
  const { reading, world, pass } = setup();
  reading.seen(50);
  await pass(0);
  reading.reset();
  reading.seen(3);
  await pass(1_000);
  assert.deepEqual(world.marks, [50, 3]);
});
