/** The inbox: what the server has, kept up by the events of the channels that are joined. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { Inbox } from "../public/inbox.js";

const at = (minute) => `2026-11-29T10:${String(minute).padStart(2, "0")}:00.000Z`;
const last = (minute, text = "text") => ({ id: `m${minute}`, author: { id: "bob", name: "Bob" }, text, at: at(minute) });
const entry = (channel, minute, unread = 0, mentions = 0) => ({
  channel,
  last: minute === null ? null : last(minute),
  read_offset: 0,
  unread,
  unread_mentions: mentions,
});
const message = (minute, more = {}) => ({
  id: `m${minute}`,
  author: { id: "ann", name: "Ann" },
  text: `text ${minute}`,
  created_at: at(minute),
  ...more,
});
const names = (inbox) => inbox.entries.map(({ channel }) => channel);

function filled() {
  const inbox = new Inbox();
  inbox.take([entry("room:a", 1, 2), entry("room:b", 3, 5, 2), entry("room:empty", null)]);
  return inbox;
}

test("the latest message comes first, an empty channel last", () => {
  const inbox = filled();
  assert.deepEqual(names(inbox), ["room:b", "room:a", "room:empty"]);
  inbox.heard({ event: "message:created", channel: "room:a", message: message(9) });
  assert.deepEqual(names(inbox), ["room:a", "room:b", "room:empty"]);
  assert.equal(inbox.entries[0].last.text, "text 9");
});

test("an edit and a deletion of the last message show, and of an earlier one do not", () => {
  const inbox = filled();
  inbox.heard({ event: "message:edited", channel: "room:a", message: message(1, { text: "better" }) });
  assert.equal(inbox.entries[1].last.text, "better");
  inbox.heard({ event: "message:deleted", channel: "room:a", message: { id: "m1", deleted: true } });
  assert.deepEqual([inbox.entries[1].last.text, inbox.entries[1].last.deleted], ["", true]);
  inbox.heard({ event: "message:deleted", channel: "room:b", message: { id: "m2", deleted: true } });
  assert.equal(inbox.entries[0].last.text, "text");
});

test("events of channels that are not followed, and without a message, change nothing", () => {
  const inbox = filled();
  inbox.heard({ event: "message:created", channel: "room:c", message: message(9) });
  inbox.heard({ event: "reaction:changed", channel: "room:a", id: "m1", reactions: {} });
  assert.deepEqual(names(inbox), ["room:b", "room:a", "room:empty"]);
});

test("counts are those of the joined channel; the totals count channels and mentions", () => {
  const inbox = filled();
  assert.deepEqual(inbox.totals, { channels: 2, mentions: 2 });
  inbox.count("room:b", { unread: 0, mentions: 0 });
  inbox.count("room:other", { unread: 7, mentions: 7 });
  assert.deepEqual(inbox.totals, { channels: 1, mentions: 0 });
});

test("following twice keeps the entry; unfollowing takes it away", () => {
  const inbox = filled();
  inbox.follow("room:a", null);
  assert.equal(inbox.entries[1].unread, 2);
  inbox.follow("room:c", last(8));
  assert.deepEqual(names(inbox), ["room:c", "room:b", "room:a", "room:empty"]);
  inbox.unfollow("room:c");
  assert.equal(inbox.follows("room:c"), false);
});

test("a long last message is cut between characters", () => {
  const inbox = filled();
  inbox.heard({ event: "message:created", channel: "room:a", message: message(9, { text: "😂".repeat(300) }) });
  assert.equal(inbox.entries[0].last.text, "😂".repeat(200));
});

test("a further page adds channels, and keeps what is known of the others", () => {
  const inbox = new Inbox();
  inbox.take([entry("room:a", 5, 1)], "cursor");
  assert.equal(inbox.next, "cursor");
  inbox.append([entry("room:a", 1, 9), entry("room:b", 2, 3)], null);
  assert.deepEqual([names(inbox), inbox.entries[0].unread, inbox.next], [["room:a", "room:b"], 1, null]);
});
