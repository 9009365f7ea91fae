/** A server that stops: the next connection replaces the current one, and nobody notices. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { joined, replacing, ROOM, sends } from "./client.js";
import { settled } from "./fake_server.js";

test("a draining server is left at the given time; no event is missed or doubled, and the state stays", async () => {
  const { clock, server, maru, told, offsets } = await joined();
  server.post(ROOM, "before");
  const old = server.drains(3_000);
  await clock.advance(2_999);
  assert.equal(server.connects.length, 1);
  server.post(ROOM, "told");
  await clock.advance(1);
  assert.deepEqual(server.connects[1].resume, { [ROOM]: { epoch: "e1", offset: 2 } });
  assert.deepEqual([old.connected, server.sockets.size], [false, 1]);
  server.post(ROOM, "after");
  assert.deepEqual(offsets(), [1, 2, 3]);
  assert.deepEqual(told.states, ["connecting", "online"]);
  assert.deepEqual(server.commands.map(([event]) => event), ["channel:join"]);
  assert.equal((await maru.send(ROOM, "there")).offset, 4);
});

test("while both connections bring a channel, each event comes once, whichever is faster", async () => {
  const { server, offsets, old, next } = await replacing();
  server.post(ROOM, "a");
  next.connected = true;
  server.sockets.add(next);
  next.rooms.add(ROOM);
  const [first] = server.log(ROOM).events;
  next.serverEmits("channel:resumed", { channel: ROOM, epoch: "e1", offset: 1, recovered: true, events: [first] });
  server.post(ROOM, "both");
  const late = server.post(ROOM, "the replacement alone", { deliver: false });
  next.serverEmits("message:created", late);
  server.post(ROOM, "both again");
  old.serverEmits("message:created", late);
  assert.deepEqual(offsets(), [1, 2, 3, 4]);
  next.serverEmits("session:ready", { user: "ann", session: "s2", expires_at: "2999-01-01T00:00:00.000Z" });
  server.post(ROOM, "over the replacement");
  assert.deepEqual(offsets(), [1, 2, 3, 4, 5]);
  assert.equal(old.connected, false);
});

test("a slow resume does not move a channel back", async () => {
  const { server, maru, offsets, next } = await replacing();
  next.connected = true;
  server.post(ROOM, "a");
  server.post(ROOM, "b");
  const [first] = server.log(ROOM).events;
  next.serverEmits("channel:resumed", { channel: ROOM, epoch: "e1", offset: 1, recovered: true, events: [first] });
  assert.deepEqual(maru.positions(), { [ROOM]: { epoch: "e1", offset: 2 } });
  assert.deepEqual(offsets(), [1, 2]);
});

test("sends in flight at the switch are answered on the old connection, and later sends wait for them", async () => {
  const { clock, server, maru, texts } = await joined({ inFlight: 4 });
  server.intercept = () => "hold";
  const sent = ["a", "b"].map((text) => maru.send(ROOM, text));
  await settled();
  const old = server.drains(0);
  await clock.advance(10);
  server.intercept = null;
  assert.equal(server.connects.length, 2);
  assert.equal(old.connected, true);
  sent.push(maru.send(ROOM, "c"));
  await settled();
  for (const answer of server.held.splice(0)) answer();
  await settled();
  await Promise.all(sent);
  assert.deepEqual(texts(), ["a", "b", "c"]);
  assert.deepEqual(sends(server).map(({ text }) => text), ["a", "b", "c"]);
  assert.equal(old.connected, false);
});

test("sends that the old connection did not answer are repeated in order, with their keys", async () => {
  const { clock, server, maru, texts } = await joined({ inFlight: 4 });
  server.intercept = (event) => (event === "message:send" ? "lose-ack" : undefined);
  const sent = ["a", "b"].map((text) => maru.send(ROOM, text));
  await settled();
  const old = server.drains(0);
  await clock.advance(10);
  sent.push(maru.send(ROOM, "c"));
  server.intercept = null;
  old.closes("transport close");
  await Promise.all(sent);
  assert.deepEqual(texts(), ["a", "b", "c"]);
  assert.deepEqual((await Promise.all(sent)).map(({ duplicate }) => duplicate), [true, true, false]);
});

test("an old connection that never answers is closed after 5 s", async () => {
  const { clock, server, maru } = await joined();
  server.intercept = () => "lose";
  const sent = maru.send(ROOM, "a");
  await settled();
  const old = server.drains(0);
  await clock.advance(10);
  server.intercept = null;
  await clock.advance(5_000);
  assert.equal(old.connected, false);
  assert.equal((await sent).offset, 1);
});

test("if the replacement is refused, the current connection goes on, and another one follows soon", async () => {
  const { clock, server, maru, told, offsets } = await joined();
  server.down = true;
  server.drains(0);
  await clock.advance(600);
  server.post(ROOM, "still here");
  assert.equal((await maru.send(ROOM, "me too")).offset, 2);
  assert.deepEqual(told.states, ["connecting", "online"]);
  server.down = false;
  await clock.advance(1_000);
  assert.equal(server.connects.length, 2);
  server.post(ROOM, "there");
  assert.deepEqual(offsets(), [1, 2, 3]);
});

test("a replacement whose token is refused is followed by one with a new token", async () => {
  const { clock, server } = await joined();
  server.refusal = ({ token }) => token === "token-1" && { code: "token_expired", retryable: false };
  server.drains(0);
  await clock.advance(1_000);
  assert.deepEqual(server.connects.map(({ token }) => token), ["token-1", "token-1", "token-2"]);
  assert.equal(server.sockets.size, 1);
});

test("if the old connection ends first, the replacement is the next attempt", async () => {
  const { clock, server, told, offsets, old, next } = await replacing();
  old.closes("transport close");
  assert.equal(told.states.at(-1), "reconnecting");
  server.post(ROOM, "missed");
  server.answers(next);
  assert.equal(told.states.at(-1), "online");
  assert.deepEqual(offsets(), [1]);
  assert.equal(server.dialled.length, 2);
  assert.equal(clock.pending, 0);
});

test("a replacement that has lost its old connection has the deadline of every attempt", async () => {
  const { clock, server, told, maru, old } = await replacing();
  old.closes("transport close");
  await clock.advance(12_000);
  assert.equal(told.states.at(-1), "online");
  assert.equal(maru.state, "online");
  assert.equal(server.sockets.size, 1);
});

test("a drained connection that is lost before its time comes back after the usual pause", async () => {
  const { clock, server, told } = await joined();
  server.drains(10_000);
  server.drop();
  await clock.advance(999);
  assert.equal(told.states.at(-1), "reconnecting");
  await clock.advance(1);
  assert.equal(told.states.at(-1), "online");
  await clock.advance(20_000);
  assert.equal(server.connects.length, 2);
});

test("a channel joined or left during the handover is joined or left on the replacement too", async () => {
  const { server, maru, offsets, next } = await replacing();
  server.answers(next, { hold: true });
  await maru.leave(ROOM);
  await maru.join("room:new");
  next.ready();
  await settled();
  server.post(ROOM, "not heard");
  server.post("room:new", "heard");
  assert.deepEqual(offsets(), [1]);
  assert.deepEqual([...next.rooms], ["room:new"]);
});

test("a replacement whose own server stops before it is ready is replaced at the given time", async () => {
  const { clock, server, told, offsets, old, next } = await replacing();
  server.answers(next, { hold: true });
  next.serverEmits("session:draining", { reconnect_in_ms: 1_000, deadline_ms: 3_000 });
  await clock.advance(400);
  next.ready();
  assert.equal(old.connected, false);
  await clock.advance(599);
  assert.equal(server.connects.length, 2);
  await clock.advance(1);
  assert.equal(server.connects.length, 3);
  assert.deepEqual([next.connected, server.sockets.size], [false, 1]);
  server.post(ROOM, "after both");
  assert.deepEqual(offsets(), [1]);
  assert.deepEqual(told.states, ["connecting", "online"]);
});

test("a replacement whose own server stops is replaced in time, even if the old connection ends first", async () => {
  const { clock, server, told, old, next } = await replacing();
  server.answers(next, { hold: true });
  next.serverEmits("session:draining", { reconnect_in_ms: 1_000, deadline_ms: 3_000 });
  old.closes("transport close");
  next.ready();
  await clock.advance(1_000);
  assert.equal(server.connects.length, 3);
  assert.deepEqual([next.connected, server.sockets.size], [false, 1]);
  assert.deepEqual(told.states, ["connecting", "online", "reconnecting", "online"]);
});

test("a replacement whose token expires soon renews it", async () => {
  const { server, next } = await replacing();
  next.connected = true;
  next.serverEmits("session:expiring", { expires_at: "2999-01-01T00:00:00.000Z" });
  server.answers(next);
  await settled();
  assert.deepEqual(server.commands.at(-1), ["auth:refresh", { token: "token-2" }]);
});

test("close also ends the replacement and the retired connection, and leaves no timer behind", async () => {
  for (const retired of [false, true]) {
    const { clock, server, maru } = await joined();
    server.intercept = () => "lose";
    maru.send(ROOM, "a").catch(() => {});
    await settled();
    server.silent = !retired;
    server.drains(0);
    await clock.advance(10);
    maru.close();
    await settled();
    assert.equal(clock.pending, 0);
    assert.equal(server.sockets.size, 0);
  }
});

test("close in a listener that gets an event of the switch is final", async () => {
  for (const lost of [false, true]) {
    const { clock, server, maru, told, old, next } = await replacing();
    server.emit("channel:removed", { channel: ROOM, code: "unavailable" }); // live events are held until the next join
    server.answers(next, { hold: true });
    next.serverEmits("message:created", server.post(ROOM, "held", { deliver: false }));
    maru.on("event", () => maru.close());
    if (lost) old.closes("transport close");
    else next.ready();
    await clock.advance(60_000);
    assert.deepEqual([maru.state, told.states.slice(-2)], ["signed-out", ["online", "signed-out"]]);
    assert.equal(clock.pending, 0);
    assert.equal(server.sockets.size, 0);
  }
});
