/** Answers of joins and resumes: each is applied only to the subscription that it is for, so no hole is silent. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { joined, online, replacing, ROOM, setUp } from "./client.js";
import { settled } from "./fake_server.js";

/** A client that has resumed `ROOM` at offset 3, and whose server holds the answer. */
async function resuming() {
  const all = await joined();
  for (const text of ["a", "b", "c"]) all.server.post(ROOM, text);
  all.server.drop();
  all.server.silent = true;
  await all.clock.advance(5_000);
  const socket = all.server.dialled.at(-1);
  all.server.post(ROOM, "d");
  all.server.answers(socket, { hold: "resumes" });
  return { ...all, socket };
}

test("the answer to a resume is not for a channel that was left and joined again since", async () => {
  const { server, maru, told, offsets, socket } = await resuming();
  maru.leave(ROOM);
  const join = maru.join(ROOM, { since: { epoch: "e1", offset: 1 } });
  told.events.length = 0;
  socket.resumes();
  socket.ready();
  await join;
  assert.deepEqual(offsets(), [2, 3, 4]);
  server.post(ROOM, "e");
  assert.deepEqual(offsets(), [2, 3, 4, 5]);
  assert.deepEqual(told.resets, []);
});

test("a removal that answers a resume is not for a channel that was left and joined again since", async () => {
  const { server, maru, told, socket } = await resuming();
  maru.leave(ROOM);
  const join = maru.join(ROOM);
  server.grants = () => false;
  socket.resumes();
  server.grants = () => true;
  socket.ready();
  assert.equal((await join).offset, 4);
  assert.deepEqual(told.removed, []);
});

test("the position may be further than the one that was named, or than the events of the answer", async () => {
  const { server, told, offsets, next } = await replacing();
  next.connected = true;
  server.post(ROOM, "heard over the old connection");
  const unknown = { channel: ROOM, epoch: "e1", offset: 4, recovered: true, events: [] }; // kinds of a later version
  next.serverEmits("channel:resumed", unknown);
  assert.deepEqual([offsets(), told.resets], [[1], []]);
});

test("an answer of another log than the position's is not taken: the channel is joined", async () => {
  const { server, told, offsets, next } = await replacing();
  server.sockets.add(next);
  next.connected = true;
  Object.assign(server.log(ROOM), { epoch: "e2", events: [] });
  server.post(ROOM, "of the new log");
  await settled();
  const [event] = server.log(ROOM).events;
  const late = { channel: ROOM, epoch: "e1", offset: 9, recovered: true, events: [{ ...event, epoch: "e1", offset: 9 }] };
  next.serverEmits("channel:resumed", late);
  next.serverEmits("session:ready", { user: "ann", session: "s2", expires_at: "2999-01-01T00:00:00.000Z" });
  await settled();
  server.post(ROOM, "and on");
  assert.deepEqual(offsets(), [2]);
  assert.deepEqual(told.resets.map(({ epoch, offset }) => [epoch, offset]), [["e2", 1]]);
});

test("a server that can not heal a live channel says so: that is a reset, and events go on from there", async () => {
  for (const reason of ["too_far_behind", "epoch_changed", "ahead_of_log"]) {
    const { server, maru, told, offsets } = await joined();
    server.post(ROOM, "a");
    const epoch = reason === "epoch_changed" ? "e2" : "e1";
    const log = server.log(ROOM);
    log.epoch = epoch;
    log.events.length = 2_000;
    server.emit("channel:resumed", { channel: ROOM, epoch, offset: 2_000, recovered: false, reason, events: [] });
    assert.deepEqual(told.resets, [{ channel: ROOM, reason, epoch, offset: 2_000 }]);
    server.post(ROOM, "on");
    assert.deepEqual(offsets(), [1, 2_001]);
    assert.deepEqual(maru.positions(), { [ROOM]: { epoch, offset: 2_001 } });
    assert.equal(server.commands.length, 1);
  }
});

test("a replacement that can not heal a channel joins it when it is in use", async () => {
  const { server, told, offsets, next } = await replacing();
  server.answers(next, { hold: true });
  const notice = { channel: ROOM, epoch: "e1", offset: 0, recovered: false, reason: "too_far_behind", events: [] };
  next.serverEmits("channel:resumed", notice);
  server.post(ROOM, "over the old connection alone", { deliver: false });
  next.ready();
  await settled();
  assert.deepEqual([offsets(), told.resets], [[1], []]);
});

test("an event that a replacement brings across a gap is not forgotten in the switch", async () => {
  const { server, offsets, next } = await replacing();
  server.answers(next, { hold: true });
  server.post(ROOM, "lost", { deliver: false });
  const event = server.post(ROOM, "heard", { deliver: false });
  server.intercept = () => "lose"; // the old connection does not answer the join any more
  next.serverEmits("message:created", event);
  server.intercept = null;
  next.ready();
  await settled();
  assert.deepEqual(offsets(), [1, 2]);
});

test("one damaged position costs that channel alone, and CONNECT never carries it", async () => {
  const damaged = [{}, { epoch: null, offset: 3 }, { epoch: "e", offset: -1 }, { epoch: "e", offset: "3" }];
  damaged.push({ epoch: "\ud800", offset: 3 }, { epoch: "e".repeat(65), offset: 3 }, { epoch: "", offset: 1 }, "e1:3");
  for (const since of damaged) {
    const { server, maru } = setUp();
    const good = maru.join(ROOM, { since: { epoch: "e1", offset: 0 } });
    const outcome = assert.rejects(maru.join("room:bad", { since }), { code: "bad_request", retryable: false });
    maru.connect();
    await outcome;
    assert.equal((await good).offset, 0);
    assert.deepEqual(server.connects[0].resume, { [ROOM]: { epoch: "e1", offset: 0 } });
  }
});

test("a name that CONNECT would be refused for is joined alone", async () => {
  const { server, maru } = setUp();
  const join = maru.join("Not a name", { since: { epoch: "e1", offset: 0 } });
  maru.connect();
  await join;
  assert.deepEqual(server.connects[0].resume, {});
});

test("a channel that is lost is always told, with the code, also if CONNECT could not name it", async () => {
  const { clock, server, maru, told } = await online();
  const names = Array.from({ length: 300 }, (_, n) => `b:${n}${"x".repeat(110)}`);
  await Promise.all(names.map((name) => maru.join(name)));
  server.grants = () => false;
  server.drop();
  await clock.advance(5_000);
  assert.ok(Object.keys(server.connects[1].resume).length < names.length);
  assert.deepEqual(told.removed.map(({ channel }) => channel).sort(), names.sort());
  assert.deepEqual(new Set(told.removed.map(({ code }) => code)), new Set(["permission_denied"]));
  assert.deepEqual(maru.positions(), {});
});

test("a join whose promise has failed with the session is told as a removal", async () => {
  const { server, maru, told } = await online();
  server.intercept = () => "lose";
  const join = assert.rejects(maru.join(ROOM), { code: "closed" });
  maru.close();
  await join;
  Object.assign(server, { intercept: null, grants: () => false });
  maru.connect();
  await settled();
  assert.deepEqual(told.removed, [{ channel: ROOM, code: "permission_denied" }]);
});

test("a refused join rejects, and is no removal", async () => {
  const { server, maru, told } = await online();
  server.grants = () => false;
  await assert.rejects(maru.join(ROOM), { code: "permission_denied" });
  assert.deepEqual(told.removed, []);
});
