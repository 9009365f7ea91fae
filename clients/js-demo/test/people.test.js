/** People by their names: in lists, in the line under the messages. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { listOf, movedText, People, sortedMembers, typingText } from "../public/people.js";

test("members are sorted by name, oneself first, whatever the case", () => {
  const members = [
    { user: "u3", name: "zoe" },
    { user: "u2", name: "Ann" },
    { user: "u1", name: "bob" },
    { user: "me", name: "Zed" },
    { user: "u4", name: null },
  ];
  const rows = sortedMembers(members, "me");
  assert.deepEqual(
    rows.map(({ name, own }) => [name, own]),
    [
      ["Zed", true],
      ["Ann", false],
      ["bob", false],
      ["u4", false],
      ["zoe", false],
    ],
  );
});

test("two people with one name stand in the order of their ids", () => {
  const pair = [
    { user: "b", name: "Ann" },
    { user: "a", name: "Ann" },
  ];
  for (const members of [pair, pair.toReversed?.() ?? [...pair].reverse()]) {
    assert.deepEqual(
      sortedMembers(members, "me").map(({ user }) => user),
      ["a", "b"],
    );
  }
});

test("names are joined as people say them", () => {
  assert.equal(listOf([]), "");
  assert.equal(listOf(["Ann"]), "Ann");
  assert.equal(listOf(["Ann", "Bob"]), "Ann and Bob");
  assert.equal(listOf(["Ann", "Bob", "Cy"]), "Ann, Bob and Cy");
});

test("up to three people are named as typing, and more are several", () => {
  assert.equal(typingText([]), "");
  assert.equal(typingText(["Ann"]), "Ann is typing…");
  assert.equal(typingText(["Ann", "Bob"]), "Ann and Bob are typing…");
  assert.equal(typingText(["Ann", "Bob", "Cy"]), "Ann, Bob and Cy are typing…");
  assert.equal(typingText(["Ann", "Bob", "Cy", "Di"]), "Several people are typing…");
});

test("people come and go in one short line", () => {
  assert.equal(movedText([], true), "");
  assert.equal(movedText(["Ann"], true), "Ann is here");
  assert.equal(movedText(["Ann"], false), "Ann has left");
  assert.equal(movedText(["Ann", "Bob"], true), "Ann and Bob are here");
  assert.equal(movedText(["Ann", "Bob"], false), "Ann and Bob have left");
  assert.equal(movedText(["a", "b", "c", "d"], true), "4 people are here");
  assert.equal(movedText(["a", "b", "c", "d"], false), "4 people have left");
});

test("a person is called by the last name heard, without tricks, or by the id", () => {
  const people = new People("me");
  people.heard("u1", "Ann");
  people.heard("u2", "\u202eBob");
  people.heard("u3", null);
  assert.equal(people.nameOf("u1"), "Ann");
  assert.equal(people.nameOf("u2"), "Bob");
  assert.equal(people.nameOf("u3"), "u3");
  people.heard("u1", "Ann Lee");
  people.heard("u1", null);
  assert.equal(people.nameOf("u1"), "Ann Lee");
  assert.equal(people.calledHere("me"), "You");
  assert.equal(people.calledHere("u1"), "Ann Lee");
});

test("the names are bounded: the first heard go", () => {
  const people = new People("me");
  for (let number = 0; number <= 5_000; number++) people.heard(`u${number}`, `Name ${number}`);
  assert.equal(people.nameOf("u0"), "u0");
  assert.equal(people.nameOf("u1"), "Name 1");
  assert.equal(people.nameOf("u5000"), "Name 5000");
});
