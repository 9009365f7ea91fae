/** Texts for people: channel names, initials, days, links, rows. */

import assert from "node:assert/strict";
import { test } from "node:test";

import {
  channelLabel,
  dayOf,
  hue,
  initials,
  isChannelName,
  isLong,
  linkParts,
  nameOf,
  namesakes,
  rowsOf,
} from "../public/format.js";

test("channel names are those of the protocol", () => {
  for (const name of ["a", "room:42", "dm:alice:bob", "0.x_y-z", "a".repeat(128)]) assert.ok(isChannelName(name));
  const wrong = ["", "Room", "room:", ":a", "_a", "a b", "a".repeat(129), "a\n", "é", "room:*"];
  for (const name of wrong) assert.ok(!isChannelName(name), JSON.stringify(name));
});

test("a room is called by its name alone", () => {
  assert.equal(channelLabel("room:lobby"), "lobby");
  assert.equal(channelLabel("dm:alice:bob"), "dm:alice:bob");
});

test("initials are one or two whole characters", () => {
  assert.equal(initials("mina"), "M");
  assert.equal(initials("Mina Kang"), "MK");
  assert.equal(initials("ann.b-cole"), "AC");
  assert.equal(initials("민아"), "민");
  assert.equal(initials("😀 smile"), "😀S");
  assert.equal(initials(" - "), "?");
  assert.equal(initials("\u202eann\u200b"), "A");
});

test("a user's colour is fixed and within the palette", () => {
  assert.equal(hue("mina"), hue("mina"));
  for (const name of ["", "a", "민아", "x".repeat(500)]) assert.ok(hue(name) >= 0 && hue(name) < 10);
});

test("days are called by the nearest name", () => {
  const noon = new Date(2026, 10, 22, 12).getTime();
  const day = 24 * 3_600_000;
  assert.equal(dayOf(noon, noon), "Today");
  assert.equal(dayOf(noon - day, noon), "Yesterday");
  assert.doesNotMatch(dayOf(noon - 3 * day, noon), /2026/);
  assert.match(dayOf(noon - 400 * day, noon), /2025/);
});

test("only http and https become links, without the sentence's punctuation", () => {
  assert.deepEqual(linkParts("see https://maru.test/a?b=1, ok"), [
    { text: "see " },
    { text: "https://maru.test/a?b=1", href: "https://maru.test/a?b=1" },
    { text: ", ok" },
  ]);
  assert.deepEqual(linkParts("javascript:alert(1)"), [{ text: "javascript:alert(1)" }]);
  assert.deepEqual(linkParts("data:text/html,x"), [{ text: "data:text/html,x" }]);
  assert.deepEqual(linkParts(""), []);
});

/** The links of a text, as they are shown. */
const shown = (text) => linkParts(text).flatMap((part) => (part.href ? [part.shown ?? part.text] : []));

test("a link shows the host that the browser goes to", () => {
  assert.deepEqual(shown("https://\u0430\u0440\u0440\u04cf\u0435.com/a"), ["https://xn--80ak6aa92e.com/a"]);
  assert.deepEqual(shown("https://\uff45xample.com"), ["https://example.com"]);
  assert.deepEqual(shown("http://0x7f.1/x"), ["http://127.0.0.1/x"]);
  assert.deepEqual(shown("https://exa\u200bmple.com"), ["https://example.com"]);
  assert.deepEqual(shown("https://maru.test/\u202egnp.exe"), ["https://maru.test/%E2%80%AEgnp.exe"]);
  const honest = ["https://maru.test", "https://MARU.test:443/A?b#c", "https://maru.test/\ud55c\uae00", "http://[::1]:80/"];
  for (const link of honest) assert.deepEqual(shown(link), [link]);
});

test("a link with a user name or a password is none", () => {
  for (const link of ["https://apple.com@evil.test/", "https://a:b@evil.test", "http://@evil.test", "https://a%40b:@c.test"]) {
    assert.deepEqual(linkParts(link), [{ text: link }]);
  }
  assert.deepEqual(shown("https://maru.test/@ann https://maru.test?a@b"), ["https://maru.test/@ann", "https://maru.test?a@b"]);
});

test("people who look alike are told apart", () => {
  const by = (...authors) => [...namesakes(authors.map((author) => ({ author })))].sort();
  assert.deepEqual(by({ id: "1", name: "Alice" }, { id: "2", name: "Bob" }, { id: "1", name: "Alice" }), []);
  assert.deepEqual(by({ id: "1", name: "Alice" }, { id: "2", name: "Bob" }, { id: "3", name: "alice " }), ["1", "3"]);
  assert.deepEqual(by({ id: "1", name: "A\u200blice" }, { id: "2", name: "\uff21lice" }), ["1", "2"]);
  assert.deepEqual(by({ id: "alice", name: null }, { id: "2", name: "Alice" }), ["2", "alice"]);
  assert.deepEqual(by({ id: "1", name: "\u0410lice" }, null), ["1"]); // a Cyrillic A
  assert.deepEqual(by({ id: "1", name: "\u0410\u043d\u043d\u0430" }), []);
});

test("who has no name is called by the id", () => {
  assert.equal(nameOf({ id: "u-1", name: null }), "u-1");
  assert.equal(nameOf({ id: "u-1", name: "Ann" }), "Ann");
  assert.equal(nameOf({ id: "u-1", name: "\u202ennA\u200b\n" }), "nnA");
  assert.equal(nameOf({ id: "\u202eu-1", name: " \u2066" }), "u-1");
});

test("a text of many lines or characters may be long", () => {
  for (const text of ["\n".repeat(20), "\u2028".repeat(20), "x".repeat(501)]) assert.ok(isLong(text));
  for (const text of ["", "\n".repeat(19), "x".repeat(500)]) assert.ok(!isLong(text));
});

test("the parts of a text are the text", () => {
  for (const text of ["https://\u0430.com/ x", "http://a@b.c d", "a http://x.y b", "(https://x.y)", "http://", "https://[bad", "<b>https://a.b</b>"]) {
    assert.equal(
      linkParts(text)
        .map((part) => part.text)
        .join(""),
      text,
    );
  }
});

const NOON = new Date(2026, 10, 22, 12).getTime();
const item = (offset, author, minutes, more = {}) => ({
  uid: `m:${offset}`,
  offset,
  author: { id: author },
  at: NOON + minutes * 60_000,
  state: "sent",
  deleted: false,
  ...more,
});
const shape = (rows) => rows.map((row) => (row.kind === "message" ? (row.first ? "first" : "next") : row.kind));

test("one author's messages within five minutes stand together", () => {
  const items = [item(1, "ann", 0), item(2, "ann", 4), item(3, "ann", 10), item(4, "bob", 10), item(5, "ann", 11)];
  assert.deepEqual(shape(rowsOf(items, NOON, Infinity)), ["day", "first", "next", "first", "first", "first"]);
});

test("a new day begins a new group", () => {
  const rows = rowsOf([item(1, "ann", -24 * 60), item(2, "ann", 0)], NOON, Infinity);
  assert.deepEqual(shape(rows), ["day", "first", "day", "first"]);
});

test("a deleted message has no head, needs no author, and does not break the group", () => {
  const gone = item(2, "ann", 1, { deleted: true, author: null, at: null });
  const items = [item(1, "ann", 0), gone, item(3, "ann", 2)];
  assert.deepEqual(shape(rowsOf(items, NOON, Infinity)), ["day", "first", "next", "next"]);
});

test("the unread line stands once, above the first message not seen", () => {
  const items = [item(1, "ann", 0), item(2, "ann", 1), item(3, "ann", 2)];
  assert.deepEqual(shape(rowsOf(items, NOON, 1)), ["day", "first", "new", "first", "next"]);
  assert.deepEqual(shape(rowsOf(items, NOON, 3)), ["day", "first", "next", "next"]);
});
