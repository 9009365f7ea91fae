/** The page's state: in whatever order its facts arrive, each message is there once, in its last state. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { Timeline, WINDOW } from "../public/timeline.js";

const AT = "2026-11-22T10:00:00.000Z";
const HEAD = { channel: "room:lobby", epoch: "e1", at: AT };

function message(offset, more = {}) {
  const author = { id: "bob", name: "Bob" };
  const base = {
    channel: "room:lobby",
    author,
    text: `text ${offset}`,
    key: null,
    created_at: AT,
    edited_at: null,
  };
  return { id: `m${offset}`, offset, ...base, ...more };
}

const created = (offset, more) => ({
  event: "message:created",
  ...HEAD,
  offset,
  message: message(offset, more),
});
const edited = (offset, of, text) => ({
  event: "message:edited",
  ...HEAD,
  offset,
  message: message(of, { text, edited_at: AT }),
});
const deleted = (offset, of) => ({
  event: "message:deleted",
  ...HEAD,
  offset,
  message: { id: `m${of}`, channel: "room:lobby", deleted: true },
});
const page = (offsets, offset, more = false) => ({
  messages: offsets.map((n) => message(n)),
  epoch: "e1",
  offset,
  more,
});
const range = (from, to) => Array.from({ length: to - from + 1 }, (_, index) => from + index);
const offsets = (timeline) => timeline.items.map((item) => item.offset);
const state = (timeline) => timeline.items.map(({ offset, text, deleted }) => [offset, deleted ? null : text]);

/** Every order of a few facts. */
function* permutations(facts) {
  if (facts.length < 2) return void (yield facts);
  for (const [index, fact] of facts.entries()) {
    const rest = facts.filter((_, other) => other !== index);
    for (const order of permutations(rest)) yield [fact, ...order];
  }
}

test("a page and live events in any order end in one state", () => {
  const facts = [
    (timeline) => timeline.page(page([1, 2, 3], 3), "latest"),
    (timeline) => timeline.apply(created(4)),
    (timeline) => timeline.apply(edited(5, 2, "better")),
    (timeline) => timeline.apply(deleted(6, 3)),
  ];
  for (const order of permutations(facts)) {
    const timeline = new Timeline("ann");
    for (const fact of order) fact(timeline);
    assert.deepEqual(state(timeline), [
      [1, "text 1"],
      [2, "better"],
      [3, null],
      [4, "text 4"],
    ]);
  }
});

test("an event that a page has already taken in does not turn the message back", () => {
  const timeline = new Timeline("ann");
  const reply = {
    messages: [message(1, { text: "third", edited_at: AT })],
    epoch: "e1",
    offset: 3,
    more: false,
  };
  timeline.page(reply, "latest");
  timeline.apply(edited(2, 1, "second"));
  assert.equal(timeline.items[0].text, "third");
});

test("a repeated event changes nothing and is not new", () => {
  const timeline = new Timeline("ann");
  assert.equal(timeline.apply(created(1)).id, "m1");
  assert.equal(timeline.apply(created(1)), null);
  assert.deepEqual(offsets(timeline), [1]);
});

test("a message deleted before its page came is deleted, not resurrected", () => {
  const timeline = new Timeline("ann");
  timeline.apply(deleted(5, 2));
  timeline.page(page([1, 2], 4), "latest");
  assert.deepEqual(
    timeline.items.map((item) => item.deleted),
    [false, true],
  );
});

test("history keeps the place of a deleted message", () => {
  const timeline = new Timeline("ann");
  const tombstone = { id: "m1", channel: "room:lobby", deleted: true, offset: 1 };
  timeline.page({ messages: [tombstone, message(2)], epoch: "e1", offset: 3, more: false }, "latest");
  assert.deepEqual(state(timeline), [
    [1, null],
    [2, "text 2"],
  ]);
  assert.equal(timeline.items[0].author, null);
});

test("a pending send becomes the message, by ack and event in either order, in one row", () => {
  const mine = { key: "k1", author: { id: "ann", name: "Ann" } };
  const facts = [
    (timeline) => timeline.apply(created(1, mine)),
    (timeline) => timeline.confirm("k1", { message: message(1, mine), offset: 1 }),
  ];
  for (const order of permutations(facts)) {
    const timeline = new Timeline("ann");
    timeline.pend("k1", "text 1", 0);
    assert.deepEqual(
      timeline.all.map((item) => item.state),
      ["pending"],
    );
    for (const fact of order) fact(timeline);
    assert.equal(timeline.all.length, 1);
    assert.equal(timeline.all[0].uid, "k:k1");
    assert.equal(timeline.all[0].state, "sent");
  }
});

test("a send that was deleted before its ack came waits no longer", () => {
  const timeline = new Timeline("ann");
  timeline.pend("k1", "gone", 0);
  timeline.confirm("k1", { message: { id: "m1", channel: "room:lobby", deleted: true, offset: 1 }, offset: 1 });
  assert.deepEqual(state(timeline), [[1, null]]);
  assert.equal(timeline.unsent.length, 0);
});

test("another user's message with the same key is another message", () => {
  const timeline = new Timeline("ann");
  timeline.pend("k1", "mine", 0);
  timeline.apply(created(1, { key: "k1" }));
  assert.equal(timeline.all.length, 2);
});

test("unsent messages stand behind the log's, in the order of sending", () => {
  const timeline = new Timeline("ann");
  timeline.pend("k1", "first", 0);
  timeline.pend("k2", "second", 0);
  timeline.apply(created(1));
  assert.deepEqual(
    timeline.all.map((item) => item.text),
    ["text 1", "first", "second"],
  );
});

test("a failed send keeps its text and reason, is pending again on retry, and can be discarded", () => {
  const timeline = new Timeline("ann");
  timeline.pend("k1", "hello", 0);
  timeline.fail("k1", "not allowed");
  assert.deepEqual([timeline.all[0].state, timeline.all[0].reason], ["failed", "not allowed"]);
  timeline.pend("k1", "hello", 1);
  assert.deepEqual([timeline.all.length, timeline.all[0].state], [1, "pending"]);
  timeline.discard("k1");
  assert.deepEqual(timeline.all, []);
});

test("pages extend the window on both sides", () => {
  const timeline = new Timeline("ann");
  timeline.page(page(range(51, 100), 100, true), "latest");
  assert.deepEqual([timeline.loaded, timeline.hasOlder, timeline.hasNewer], [true, true, false]);
  timeline.page(page(range(1, 50), 100, false), "before");
  assert.deepEqual(offsets(timeline), range(1, 100));
  assert.equal(timeline.hasOlder, false);
});

test("the window is bounded at either end, and says on which side the log goes on", () => {
  const timeline = new Timeline("ann");
  timeline.page(page(range(1, WINDOW + 50), 600), "latest");
  timeline.trim("newer");
  assert.deepEqual(offsets(timeline), range(1, WINDOW));
  assert.deepEqual([timeline.hasOlder, timeline.hasNewer], [false, true]);
  timeline.page(page(range(WINDOW + 1, WINDOW + 50), 600), "after");
  timeline.trim("older");
  assert.deepEqual(offsets(timeline), range(51, WINDOW + 50));
  assert.equal(timeline.hasOlder, true);
});

test("a live message is not put beside a window that ends earlier, but is reported", () => {
  const timeline = new Timeline("ann");
  timeline.page(page(range(1, WINDOW + 1), WINDOW + 1), "latest");
  timeline.trim("newer");
  assert.equal(timeline.apply(created(WINDOW + 2)).offset, WINDOW + 2);
  assert.equal(timeline.items.at(-1).offset, WINDOW);
  timeline.page(page([WINDOW + 1], WINDOW + 1), "after");
  assert.equal(timeline.hasNewer, true);
  timeline.page(page([WINDOW + 2], WINDOW + 2), "after");
  assert.equal(timeline.hasNewer, false);
  assert.deepEqual(offsets(timeline), range(1, WINDOW + 2));
});

test("the latest page replaces a window that has come loose", () => {
  const timeline = new Timeline("ann");
  timeline.page(page(range(1, WINDOW + 1), 2_000), "latest");
  timeline.trim("newer");
  timeline.page(page(range(1_951, 2_000), 2_000, true), "latest");
  assert.deepEqual(offsets(timeline), range(1_951, 2_000));
  assert.deepEqual([timeline.hasOlder, timeline.hasNewer], [true, false]);
});

test("events older than the latest page leave no hole before it", () => {
  const timeline = new Timeline("ann");
  timeline.apply(created(1));
  timeline.page(page(range(60, 109), 109, true), "latest");
  assert.deepEqual(offsets(timeline), range(60, 109));
});

test("a send that waits says why, and so do those behind it, until they are in the log", () => {
  const timeline = new Timeline("ann");
  for (const key of ["k1", "k2", "k3"]) timeline.pend(key, key, 0);
  timeline.fail("k2", "too large");
  timeline.delay("k1", "goes out in 2 seconds");
  timeline.delay("unknown", "x");
  const reasons = () => timeline.unsent.map(({ reason }) => reason);
  assert.deepEqual(reasons(), ["goes out in 2 seconds", "too large", "Waits for the message before it"]);
  timeline.pend("k4", "k4", 0);
  assert.equal(reasons()[3], "Waits for the message before it");
  for (const key of ["k1", "k3", "k4"]) timeline.discard(key);
  timeline.pend("k5", "k5", 0);
  assert.deepEqual(reasons(), ["too large", ""]);
});

test("reset forgets the log, keeps unsent messages, and makes pages asked for earlier recognisable", () => {
  const timeline = new Timeline("ann");
  timeline.page(page([1, 2], 2), "latest");
  timeline.pend("k1", "waiting", 0);
  const { generation } = timeline;
  timeline.reset();
  assert.deepEqual(
    timeline.all.map((item) => item.text),
    ["waiting"],
  );
  assert.notEqual(timeline.generation, generation);
  assert.equal(timeline.loaded, false);
});

test("a page of a new epoch does not mix with the old one", () => {
  const timeline = new Timeline("ann");
  timeline.page(page([1, 2], 2), "latest");
  timeline.page({ ...page([1], 1), epoch: "e2", messages: [message(1, { id: "n1" })] }, "latest");
  assert.deepEqual(
    timeline.items.map((item) => item.id),
    ["n1"],
  );
});

test("a message that is deleted when its events are replayed is shown as deleted, whatever comes in which order", () => {
  const gone = { id: "m1", channel: "room:lobby", deleted: true, offset: 1 };
  const by = { deleted_by: { id: "mod", name: "Mod" } };
  const facts = [
    (timeline) => timeline.apply({ event: "message:created", ...HEAD, offset: 1, message: gone }),
    (timeline) => timeline.apply({ event: "message:edited", ...HEAD, offset: 2, message: gone }),
    (timeline) => timeline.apply({ event: "message:deleted", ...HEAD, offset: 3, message: { ...gone, ...by } }),
    (timeline) => timeline.page(page([1], 2), "latest"), // read before the deletion
    (timeline) => timeline.apply(edited(2, 1, "heard before the deletion")),
  ];
  for (const order of permutations(facts)) {
    const timeline = new Timeline("ann");
    for (const fact of order) fact(timeline);
    assert.deepEqual(state(timeline), [[1, null]]);
    assert.equal(timeline.items[0].text, "");
  }
});

test("the text of a known message goes with the replay of its creation", () => {
  const timeline = new Timeline("ann");
  timeline.page(page([1], 1), "latest");
  const gone = { id: "m1", channel: "room:lobby", deleted: true, offset: 1 };
  timeline.apply({ event: "message:created", ...HEAD, offset: 1, message: gone });
  assert.deepEqual(state(timeline), [[1, null]]);
});

test("a send that is repeated after its message was deleted is shown as deleted", () => {
  const timeline = new Timeline("ann");
  timeline.page(page([], 0), "latest");
  timeline.pend("k", "mine", 0);
  const message = { id: "m1", channel: "room:lobby", deleted: true, offset: 1 };
  timeline.confirm("k", { message, offset: 1 });
  assert.deepEqual([state(timeline), timeline.unsent], [[[1, null]], []]);
});

const reacted = (offset, of, reactions) => ({ event: "reaction:changed", ...HEAD, offset, id: `m${of}`, reactions });
const UP_BY = (...users) => ({ "👍": { count: users.length, users } });

test("a page among reactions and edits, wherever it comes, ends in one state", () => {
  const after = page([1, 2, 3], 3);
  after.messages[1].reactions = UP_BY("ann");
  const better = { text: "better", edited_at: AT, reactions: UP_BY("ann", "bob") };
  const events = [
    reacted(4, 2, UP_BY("ann", "bob")),
    { event: "message:edited", ...HEAD, offset: 5, message: message(2, better) },
    reacted(6, 2, UP_BY("bob")),
  ];
  for (let place = 0; place <= events.length; place++) {
    const timeline = new Timeline("ann");
    for (const event of events.slice(0, place)) timeline.apply(event);
    timeline.page(after, "latest");
    for (const event of events.slice(place)) timeline.apply(event);
    assert.deepEqual(state(timeline)[1], [2, "better"]);
    assert.deepEqual(timeline.items[1].reactions, UP_BY("bob"));
  }
});

test("a deleted message has no reactions, and gets none", () => {
  const timeline = new Timeline("ann");
  timeline.page(page([1, 2, 3], 3), "latest");
  timeline.apply(reacted(4, 2, UP_BY("bob")));
  timeline.apply(deleted(5, 2));
  timeline.apply(reacted(6, 2, UP_BY("bob")));
  assert.deepEqual(timeline.items[1].reactions, {});
});

test("the mentions of a message are those that it was sent with", () => {
  const timeline = new Timeline("ann");
  timeline.pend("k1", "@Bob", 1, ["bob"]);
  assert.deepEqual(timeline.unsent[0].mentions, ["bob"]);
  timeline.confirm("k1", { offset: 1, message: message(1, { key: "k1", mentions: ["bob"] }) });
  assert.deepEqual(timeline.items[0].mentions, ["bob"]);
});

test("a window that is moved has no hole before what comes meanwhile", () => {
  const timeline = new Timeline("ann");
  timeline.page(page(range(151, 200), 200, true), "latest");
  timeline.moveTo(40);
  assert.equal(timeline.apply(created(201))?.offset, 201); // new, and counted only
  timeline.page(page(range(41, 90), 201, true), "after");
  assert.deepEqual(offsets(timeline), range(41, 90));
  assert.deepEqual([timeline.loaded, timeline.hasOlder, timeline.hasNewer], [true, true, true]);
  timeline.page(page(range(91, 201), 201), "after");
  assert.deepEqual([offsets(timeline), timeline.hasNewer], [range(41, 201), false]);
});
