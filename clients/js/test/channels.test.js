/** Channels: every event reaches the application once and in order, or a reset says that events are missing. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { MaruError } from "../src/index.js";
import { joined, online, ROOM, setUp } from "./client.js";
import { settled } from "./fake_server.js";

test("a joined channel's events arrive once each, in order, and the position follows", async () => {
  const { server, maru, offsets } = await joined();
  for (const text of ["a", "b", "c"]) server.post(ROOM, text);
  server.deliver(server.log(ROOM).events[1]);
  assert.deepEqual(offsets(), [1, 2, 3]);
  assert.deepEqual(maru.positions(), { [ROOM]: { epoch: "e1", offset: 3 } });
});

test("join with history hands over the last events before live events", async () => {
  const { server, maru, offsets } = await online();
  for (const text of ["a", "b", "c"]) server.post(ROOM, text);
  await maru.join(ROOM, { history: 2 });
  server.post(ROOM, "d");
  assert.deepEqual(offsets(), [2, 3, 4]);
});

test("join with a kept position hands over exactly the events after it", async () => {
  const { server, maru, offsets } = await online();
  for (const text of ["a", "b", "c"]) server.post(ROOM, text);
  await maru.join(ROOM, { since: { epoch: "e1", offset: 1 } });
  assert.deepEqual(offsets(), [2, 3]);
});

test("an event that overtakes the answer to its join waits for it", async () => {
  const { server, maru, offsets } = await online();
  server.post(ROOM, "a");
  const join = maru.join(ROOM, { history: 5 });
  const late = { ...server.log(ROOM).events[0], offset: 2 };
  server.log(ROOM).events.push(late);
  server.emit("message:created", late);
  await join;
  assert.deepEqual(offsets(), [1, 2]);
});

test("a join asked for while offline happens at the first connection", async () => {
  const { server, maru, offsets } = setUp();
  const join = maru.join(ROOM);
  maru.connect();
  await join;
  server.post(ROOM, "a");
  assert.deepEqual(offsets(), [1]);
});

test("a refused join rejects with the server's code and is not repeated", async () => {
  const { clock, server, maru } = await online();
  server.intercept = () => ({ code: "permission_denied", message: "no", retryable: false });
  await assert.rejects(maru.join(ROOM), (error) => error instanceof MaruError);
  await assert.rejects(maru.join(ROOM), { code: "permission_denied", retryable: false });
  server.intercept = null;
  await clock.advance(60_000);
  assert.equal(server.commands.length, 2);
});

test("a join that the server can not do now is repeated until it succeeds", async () => {
  const { clock, server, maru, told } = await online();
  let refusals = 2;
  server.intercept = () => (refusals-- > 0 ? { code: "unavailable", retryable: true } : undefined);
  const join = maru.join(ROOM);
  await clock.advance(10_000);
  assert.equal((await join).channel, ROOM);
  assert.deepEqual(
    told.delayed.map(({ channel, key, waitMs, error }) => [channel, key, waitMs, error.code]),
    [[ROOM, null, 1_000, "unavailable"], [ROOM, null, 2_000, "unavailable"]],
  );
});

test("a channel that a rule of the application closes is told with its reason", async () => {
  const { clock, server, told } = await joined();
  const details = { reason: "members only" };
  server.emit("channel:removed", { channel: ROOM, code: "unavailable" });
  server.intercept = () => ({ code: "permission_denied", retryable: false, details });
  await clock.advance(5_000);
  assert.deepEqual(told.removed, [{ channel: ROOM, code: "permission_denied", reason: "members only" }]);
});

test("after an outage the client names its positions and gets the missed events, once", async () => {
  const { clock, server, told, offsets } = await joined();
  server.post(ROOM, "a");
  server.drop();
  assert.equal(told.states.at(-1), "reconnecting");
  server.post(ROOM, "b");
  server.post(ROOM, "c");
  await clock.advance(5_000);
  server.post(ROOM, "d");
  assert.deepEqual(server.connects[1].resume, { [ROOM]: { epoch: "e1", offset: 1 } });
  assert.deepEqual(offsets(), [1, 2, 3, 4]);
});

test("if the server can not recover, the application is told, and live events go on", async () => {
  const { clock, server, told, offsets } = await joined();
  server.post(ROOM, "a");
  server.drop();
  Object.assign(server.log(ROOM), { epoch: "e2", events: [] });
  server.post(ROOM, "new log", { deliver: false });
  await clock.advance(5_000);
  assert.deepEqual(told.resets, [{ channel: ROOM, reason: "epoch_changed", epoch: "e2", offset: 1 }]);
  server.post(ROOM, "x");
  assert.deepEqual(offsets(), [1, 2]);
});

test("a gap in live events is healed by a join from the last position", async () => {
  const { server, offsets } = await joined();
  server.post(ROOM, "a");
  server.post(ROOM, "lost on the way", { deliver: false });
  server.post(ROOM, "c");
  await settled();
  assert.deepEqual(offsets(), [1, 2, 3]);
  const since = { epoch: "e1", offset: 1 };
  assert.deepEqual(server.commands.at(-1), ["channel:join", { channel: ROOM, since }]);
});

test("an event of another epoch makes the client join from its position", async () => {
  const { server, told } = await joined();
  server.post(ROOM, "a");
  Object.assign(server.log(ROOM), { epoch: "e2", events: [] });
  server.post(ROOM, "first of the new log");
  await settled();
  assert.equal(told.resets[0].reason, "epoch_changed");
});

test("a left channel is neither heard nor resumed", async () => {
  const { clock, server, maru, offsets } = await joined();
  await maru.leave(ROOM);
  server.post(ROOM, "a");
  server.drop();
  await clock.advance(5_000);
  assert.deepEqual(offsets(), []);
  assert.deepEqual(server.connects[1].resume, {});
});

test("channel:removed ends the channel; after a transient code it is joined again", async () => {
  const { clock, server, maru, told, offsets } = await joined();
  server.emit("channel:removed", { channel: ROOM, code: "unavailable" });
  server.post(ROOM, "a", { deliver: false });
  await clock.advance(5_000);
  assert.deepEqual(offsets(), [1]);
  server.emit("channel:removed", { channel: ROOM, code: "permission_denied" });
  assert.deepEqual(told.removed, [{ channel: ROOM, code: "permission_denied" }]);
  assert.deepEqual(maru.positions(), {});
});

test("the events of a message that is deleted by now come as every event, without a text", async () => {
  const { server, maru, told, offsets } = await online();
  for (const text of ["a", "b"]) server.post(ROOM, text);
  const gone = { id: "m1", channel: ROOM, deleted: true, offset: 1 };
  Object.assign(server.log(ROOM).events[0], { message: gone });
  await maru.join(ROOM, { since: { epoch: "e1", offset: 0 } });
  const position = { channel: ROOM, epoch: "e1", offset: 3, at: "2026-01-01T00:00:00.000Z" };
  server.emit("message:deleted", { ...position, message: { ...gone, deleted_by: { id: "mod", name: "Mod" } } });
  assert.deepEqual(offsets(), [1, 2, 3]);
  assert.deepEqual([told.events[0].message, told.events[2].message.deleted_by.id], [gone, "mod"]);
});
