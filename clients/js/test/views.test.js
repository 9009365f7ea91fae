/** What a user interface shows of a channel. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { presenceView, roomView, typingView, unreadView } from "../src/views.js";
import { online, ROOM, setUp } from "./client.js";
import { settled } from "./fake_server.js";

const said = (server, name) => server.commands.filter(([event]) => event === name).length;
const texts = (view) => view.getSnapshot().messages.map(({ text, deleted }) => text ?? (deleted ? "deleted" : ""));

test("a room shows history, what comes, and what waits", async () => {
  const { clock, maru, server } = await online();
  server.post(ROOM, "before");
  const view = roomView(maru, ROOM, 20);
  let changes = 0;
  const off = view.subscribe(() => changes++);
  assert.equal(view.getSnapshot().status, "joining");
  await settled();
  assert.deepEqual([view.getSnapshot().status, texts(view)], ["joined", ["before"]]);
  server.post(ROOM, "live");
  server.append(ROOM, "reaction:changed", { id: "m2", reactions: { x: { count: 1, users: ["bob"] } } });
  server.erase(ROOM, "m1");
  assert.deepEqual(texts(view), ["deleted", "live"]);
  assert.deepEqual(view.getSnapshot().messages[1].reactions, { x: { count: 1, users: ["bob"] } });
  server.intercept = (event) => (event === "message:send" ? "lose" : undefined);
  maru.send(ROOM, "mine");
  await settled();
  assert.deepEqual(view.getSnapshot().unsent.map(({ text }) => text), ["mine"]);
  server.intercept = null;
  await clock.advance(20_000);
  assert.deepEqual([view.getSnapshot().unsent, texts(view)], [[], ["deleted", "live", "mine"]]);
  const before = changes;
  off();
  server.post(ROOM, "late");
  assert.equal(changes, before);
});

test("mounting again at once neither leaves nor joins; a while later the channel is left", async () => {
  const { clock, maru, server } = await online();
  const views = [roomView(maru, ROOM, 5), presenceView(maru, ROOM), unreadView(maru, ROOM), typingView(maru, ROOM)];
  const mount = () => views.map((view) => view.subscribe(() => {}));
  for (const off of mount()) off();
  const offs = mount();
  await clock.advance(5_000);
  assert.deepEqual([said(server, "channel:join"), said(server, "channel:leave")], [1, 0]);
  server.people.moves(ROOM, "bob");
  server.people.tell("typing:changed", ROOM, { user: "bob", typing: true, expires_in_ms: 8_000 });
  server.post(ROOM, "unread");
  const [room, presence, unread, typing] = views.map((view) => view.getSnapshot());
  assert.deepEqual([room.messages.length, presence.count, unread.count, typing.users], [1, 1, 1, []]);
  for (const off of offs) off();
  await clock.advance(900);
  assert.equal(said(server, "channel:leave"), 0);
  await clock.advance(200);
  assert.equal(said(server, "channel:leave"), 1);
});

test("history is read again when events are missing", async () => {
  const { clock, maru, server } = await online();
  server.post(ROOM, "a");
  const view = roomView(maru, ROOM, 20);
  view.subscribe(() => {});
  await settled();
  server.logs.clear();
  server.log(ROOM).epoch = "e2";
  server.post(ROOM, "of another log", { deliver: false });
  server.drop();
  await clock.advance(5_000);
  assert.deepEqual(texts(view), ["of another log"]);
});

test("a refusal and a removal are shown, and the next session tries again", async () => {
  const { clock, maru, server } = await online();
  server.grants = () => false;
  const [view, presence] = [roomView(maru, ROOM, 5), presenceView(maru, ROOM)];
  for (const each of [view, presence]) each.subscribe(() => {});
  await settled();
  const shown = () => [view.getSnapshot().status, view.getSnapshot().error?.code, presence.getSnapshot().error?.code];
  assert.deepEqual(shown(), ["refused", "permission_denied", "permission_denied"]);
  server.grants = () => true;
  server.drop();
  await clock.advance(5_000);
  assert.deepEqual(shown(), ["joined", undefined, undefined]);
  const details = { channel: ROOM, code: "permission_denied", reason: "no more" };
  server.emit("channel:removed", details);
  assert.deepEqual(shown().slice(0, 2), ["removed", "permission_denied"]);
});

test("before any connection a view waits, and no rejection is left to nobody when the client is closed", async () => {
  const { maru, clock } = setUp();
  const view = roomView(maru, ROOM, 5);
  const off = view.subscribe(() => {});
  await settled();
  assert.equal(view.getSnapshot().status, "joining");
  maru.close();
  await settled();
  off();
  await clock.advance(2_000);
});

test("what is missing after a reset is read until it is there", async () => {
  const { clock, maru, server } = await online();
  const view = roomView(maru, ROOM, 10);
  const off = view.subscribe(() => {});
  await settled();
  server.intercept = (event) => (event === "history:read" ? { code: "unavailable", message: "no", retryable: true } : undefined);
  server.post(ROOM, "missed", { deliver: false });
  server.emit("channel:resumed", { channel: ROOM, epoch: "e1", offset: 1, recovered: false, reason: "too_far_behind", events: [] });
  await clock.advance(3_000);
  assert.deepEqual(view.getSnapshot().messages, []);
  server.intercept = null;
  await clock.advance(2_000);
  assert.deepEqual(view.getSnapshot().messages.map(({ text }) => text), ["missed"]);
  off();
});
