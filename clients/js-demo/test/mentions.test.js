/** Mentions: completed, sent, and found again in the text. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { completed, mentionedIn, mentionParts, offered, queryAt } from "../public/mentions.js";

const ANN = { user: "ann", name: "Ann" };
const LEE = { user: "u2", name: "Ann Lee" };
const BOB = { user: "bob", name: "Bob" };
const KIM = { user: "kim", name: "Sora Kim" };
const PEOPLE = [ANN, BOB, KIM, LEE];

test("a mention is written from an @ that begins a word", () => {
  assert.deepEqual(queryAt("@", 1), { start: 0, query: "" });
  assert.deepEqual(queryAt("hello @an", 9), { start: 6, query: "an" });
  assert.deepEqual(queryAt("(@an", 4), { start: 1, query: "an" });
  assert.deepEqual(queryAt("@sora k", 7), { start: 0, query: "sora k" });
  assert.deepEqual(queryAt("@an and more", 3), { start: 0, query: "an" });
  for (const [text, caret] of [
    ["hello", 5],
    ["ann@example", 11],
    ["@an", 0],
    ["@an\nd", 5],
    ["@ an", 4],
    [`@${"x".repeat(80)}`, 81],
  ]) {
    assert.equal(queryAt(text, caret), null, text);
  }
});

test("people are offered by the beginning of their name, then of any word of it", () => {
  const users = (query) => offered(PEOPLE, query).map(({ user }) => user);
  assert.deepEqual(users(""), ["ann", "bob", "kim", "u2"]);
  assert.deepEqual(users("AN"), ["ann", "u2"]);
  assert.deepEqual(users("k"), ["kim"]);
  assert.deepEqual(users("sora k"), ["kim"]);
  assert.deepEqual(users("ann hello"), []);
  const many = Array.from({ length: 20 }, (_, number) => ({ user: `u${number}`, name: `User ${number}` }));
  assert.equal(offered(many, "u").length, 6);
});

test("a name takes the place of what was written of it", () => {
  assert.deepEqual(completed("hi @an", 6, 3, "Ann"), { text: "hi @Ann ", caret: 8 });
  assert.deepEqual(completed("hi @an there", 6, 3, "Ann"), { text: "hi @Ann there", caret: 8 });
});

test("mentioned are those whose whole name stands behind an @, the longest name first, each once", () => {
  assert.deepEqual(mentionedIn("@Ann Lee and @bob, @Bob!", PEOPLE), ["u2", "bob"]);
  assert.deepEqual(mentionedIn("@Ann", PEOPLE), ["ann"]);
  assert.deepEqual(mentionedIn("@Annabel, ann@example.org, @ann", [ANN]), ["ann"]);
  assert.deepEqual(mentionedIn("nobody", PEOPLE), []);
  const namesakes = [{ user: "second", name: "Bob" }, BOB];
  assert.deepEqual(mentionedIn("@Bob", namesakes), ["second"]);
  const many = Array.from({ length: 60 }, (_, number) => ({ user: `u${number}`, name: `n${number}` }));
  assert.equal(mentionedIn(many.map(({ name }) => `@${name}`).join(" "), many).length, 50);
});

test("the parts of a text are the text, whoever is called what", () => {
  const texts = ["@Ann Lee, @Bob: @@Ann @Sora Kim @", "@", "@Ann@Bob", "plain", "a@Ann @Annie", "@Ann\n@Bob"];
  for (const text of texts) {
    const parts = mentionParts(text, [...PEOPLE, { user: "x", name: "" }, { user: "y", name: "@" }]);
    assert.equal(parts.map((part) => part.text).join(""), text);
  }
  assert.deepEqual(mentionParts("hi @Bob!", PEOPLE), [
    { text: "hi " },
    { text: "@Bob", user: "bob" },
    { text: "!" },
  ]);
});
