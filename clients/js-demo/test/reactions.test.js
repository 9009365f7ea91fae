/** Reactions: the log's state with the own clicks on top, in whatever order answers and events come. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { chipsOf, chipText, Clicks, EMOJIS } from "../public/reactions.js";

const [[UP], [HEART]] = EMOJIS;
const item = (reactions, asOf = 5) => ({ id: "m1", reactions, asOf });
const brief = (chips) => chips.map(({ emoji, count, own }) => [emoji, count, own]);

test("the state of the log is shown in its order", () => {
  const reactions = { [HEART]: { count: 2, users: ["ann", "bob"] }, "🦀": { count: 1, users: ["me"] } };
  assert.deepEqual(brief(chipsOf(item(reactions), new Clicks(), "me")), [
    [HEART, 2, false],
    ["🦀", 1, true],
  ]);
});

test("a click shows at once, and once: before the answer, after it, and after the event", () => {
  const clicks = new Clicks();
  const before = { [UP]: { count: 1, users: ["ann"] } };
  const after = { [UP]: { count: 2, users: ["ann", "me"] } };
  clicks.begin("m1", UP, true);
  assert.deepEqual(brief(chipsOf(item(before), clicks, "me")), [[UP, 2, true]]);
  assert.deepEqual(brief(chipsOf(item(after, 6), clicks, "me")), [[UP, 2, true]]);
  clicks.done("m1", UP, 6);
  assert.deepEqual(brief(chipsOf(item(before), clicks, "me")), [[UP, 2, true]]);
  assert.deepEqual(brief(chipsOf(item(after, 6), clicks, "me")), [[UP, 2, true]]);
});

test("what another tab does after the answer wins", () => {
  const clicks = new Clicks();
  clicks.begin("m1", UP, true);
  clicks.done("m1", UP, 6);
  assert.deepEqual(brief(chipsOf(item({}, 7), clicks, "me")), []);
});

test("taking the last reaction back takes the chip away, and a refusal brings it back", () => {
  const clicks = new Clicks();
  const mine = { [UP]: { count: 1, users: ["me"] } };
  clicks.begin("m1", UP, false);
  assert.deepEqual(brief(chipsOf(item(mine), clicks, "me")), []);
  clicks.failed("m1", UP);
  assert.deepEqual(brief(chipsOf(item(mine), clicks, "me")), [[UP, 1, true]]);
});

test("among many, the own click is remembered, as the state does not name everybody", () => {
  const clicks = new Clicks();
  const many = { [UP]: { count: 140, users: Array.from({ length: 10 }, (_, number) => `u${number}`) } };
  clicks.begin("m1", UP, true);
  clicks.done("m1", UP, 4);
  assert.deepEqual(brief(chipsOf(item(many), clicks, "me")), [[UP, 140, true]]);
});

test("a message that is not in the log yet has no reactions; clicks of another message count for nothing", () => {
  const clicks = new Clicks();
  clicks.begin("m2", UP, true);
  assert.deepEqual(chipsOf({ id: null, reactions: {}, asOf: 0 }, clicks, "me"), []);
  assert.deepEqual(chipsOf(item({}), clicks, "me"), []);
});

test("the text of a chip names those that are known, and counts the others", () => {
  const called = (user) => (user === "me" ? "You" : user);
  const text = (count, users) => chipText({ emoji: UP, count, own: false, users }, called);
  assert.equal(text(1, ["me"]), "You reacted with 👍");
  assert.equal(text(3, ["me", "ann", "bob"]), "You, ann and bob reacted with 👍");
  assert.equal(text(3, ["ann", "bob"]), "ann, bob and 1 other reacted with 👍");
  assert.equal(text(140, ["ann"]), "ann and 139 others reacted with 👍");
});

test("the clicks are bounded: the first messages go", () => {
  const clicks = new Clicks();
  for (let number = 0; number <= 500; number++) clicks.begin(`m${number}`, UP, true);
  assert.equal(clicks.of("m0"), undefined);
  assert.equal(clicks.of("m500").get(UP).on, true);
});
