/** The core against a server in memory: what reaches the application, whatever the network does. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { createMaru, MaruError, newKey } from "../public/maru.js";
import { Clock, FakeServer, settled } from "./fake_server.js";

const ROOM = "room:lobby";

/** A server, a clock, a client, and everything the client told the application. */
function setUp(options = {}) {
  const clock = new Clock();
  const server = new FakeServer(clock);
  const told = { states: [], events: [], resets: [], removed: [] };
  let tokens = 0;
  const maru = createMaru({
    io: server.io,
    getToken: () => `token-${++tokens}`,
    timers: clock,
    random: () => 0.5, // no spread: the backoff is 1 s, 2 s, 4 s, ...
    ...options,
  });
  maru.on("state", ({ state }) => told.states.push(state));
  maru.on("event", (event) => told.events.push(event));
  maru.on("reset", (reset) => told.resets.push(reset));
  maru.on("removed", (removed) => told.removed.push(removed));
  const offsets = () => told.events.map((event) => event.offset);
  const texts = () => server.log(ROOM).events.map((event) => event.message.text);
  return { clock, server, maru, told, offsets, texts };
}

async function online(options) {
  const all = setUp(options);
  all.maru.connect();
  await settled();
  assert.equal(all.maru.state, "online");
  return all;
}

async function joined(options) {
  const all = await online(options);
  await all.maru.join(ROOM);
  return all;
}

const sends = (server) => server.commands.filter(([event]) => event === "message:send").map(([, data]) => data);

test("connecting goes to /chat over WebSocket alone, with the token in auth and nothing in the URL", async () => {
  const { server, maru, told } = await online({ url: "http://maru.test" });
  const [socket] = server.sockets;
  assert.equal(socket.url, "http://maru.test/chat");
  assert.deepEqual(socket.options.transports, ["websocket"]);
  assert.deepEqual(server.connects, [{ token: "token-1", resume: {} }]);
  assert.deepEqual(told.states, ["connecting", "online"]);
  assert.equal(maru.session.user, "ann");
});

test("a joined channel's events arrive once each, in order, and the position follows", async () => {
  const { server, maru, offsets } = await joined();
  for (const text of ["a", "b", "c"]) server.post(ROOM, text);
  server.deliver(server.log(ROOM).events[1]);
  assert.deepEqual(offsets(), [1, 2, 3]);
  assert.deepEqual(maru.positions(), { [ROOM]: { epoch: "e1", offset: 3 } });
});

test("join with history hands over the last events before live ones", async () => {
  const { server, maru, offsets } = await online();
  for (const text of ["a", "b", "c"]) server.post(ROOM, text);
  await maru.join(ROOM, { history: 2 });
  server.post(ROOM, "d");
  assert.deepEqual(offsets(), [2, 3, 4]);
});

test("join with a kept position hands over exactly what came after it", async () => {
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

test("a join the server can not do right now is repeated until it can", async () => {
  const { clock, server, maru } = await online();
  let refusals = 2;
  server.intercept = () => (refusals-- > 0 ? { code: "unavailable", retryable: true } : undefined);
  const join = maru.join(ROOM);
  await clock.advance(10_000);
  assert.equal((await join).channel, ROOM);
});

test("after an outage the client names its positions and gets what it missed, once", async () => {
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

test("where the server can not recover, the application is told, and live events go on", async () => {
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

test("an event of another epoch makes the client ask where it stands", async () => {
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

test("channel:removed for good ends the channel; for a passing reason it is joined again", async () => {
  const { clock, server, maru, told, offsets } = await joined();
  server.emit("channel:removed", { channel: ROOM, code: "unavailable" });
  server.post(ROOM, "a", { deliver: false });
  await clock.advance(5_000);
  assert.deepEqual(offsets(), [1]);
  server.emit("channel:removed", { channel: ROOM, code: "permission_denied" });
  assert.deepEqual(told.removed, [{ channel: ROOM, code: "permission_denied" }]);
  assert.deepEqual(maru.positions(), {});
});

test("a send whose ack is lost with the connection is one message", async () => {
  const { clock, server, maru, texts } = await joined();
  server.intercept = (event) => (event === "message:send" ? "lose-ack" : undefined);
  const send = maru.send(ROOM, "once");
  await settled();
  server.intercept = null;
  server.drop();
  await clock.advance(5_000);
  assert.equal((await send).duplicate, true);
  assert.deepEqual(texts(), ["once"]);
  assert.equal(new Set(sends(server).map(({ key }) => key)).size, 1);
});

test("a send the server can not take right now is tried again, though timers know whole milliseconds only", async () => {
  const { clock, server, maru, texts } = await joined({ random: () => 0.4567 }); // a pause of 956.7 ms
  let refusals = 2;
  server.intercept = () => (refusals-- > 0 ? { code: "unavailable", retryable: true } : undefined);
  const send = maru.send(ROOM, "soon");
  await clock.advance(10_000);
  assert.equal((await Promise.race([send, settled()]))?.offset, 1);
  assert.deepEqual(texts(), ["soon"]);
});

test("sends made offline wait, and go out in order after the reconnect", async () => {
  const { clock, server, maru, texts } = await joined();
  server.drop();
  const all = ["a", "b", "c"].map((text) => maru.send(ROOM, text));
  await clock.advance(5_000);
  await Promise.all(all);
  assert.deepEqual(texts(), ["a", "b", "c"]);
});

test("an unanswered send is repeated with its key on the same connection", async () => {
  const { clock, server, maru, texts } = await joined();
  let lost = 0;
  server.intercept = (event) => (event === "message:send" && lost++ === 0 ? "lose" : undefined);
  const send = maru.send(ROOM, "a");
  await clock.advance(15_000);
  assert.equal((await send).duplicate, false);
  assert.deepEqual(texts(), ["a"]);
  assert.equal(server.connects.length, 1);
});

test("rate_limited holds the whole channel for retry_after_ms, and the order stays", async () => {
  const { clock, server, maru, texts } = await joined();
  let refused = 0;
  server.intercept = (event) => {
    if (event !== "message:send" || refused++ > 0) return undefined;
    return { code: "rate_limited", retryable: true, retry_after_ms: 7_000 };
  };
  const first = maru.send(ROOM, "a");
  await clock.advance(1_000);
  const all = [first, maru.send(ROOM, "b")];
  await clock.advance(5_900);
  assert.deepEqual(texts(), []);
  await clock.advance(200);
  await Promise.all(all);
  assert.deepEqual(texts(), ["a", "b"]);
});

test("a send refused for good rejects, lets the next one go, and can be repeated with its key", async () => {
  const { server, maru, texts } = await joined();
  server.intercept = (_, data) => (data.text === "bad" ? { code: "bad_request", retryable: false } : undefined);
  const bad = maru.send(ROOM, "bad", { key: "k1" });
  const good = maru.send(ROOM, "good");
  await assert.rejects(bad, { code: "bad_request" });
  await good;
  server.intercept = null;
  await maru.send(ROOM, "bad", { key: "k1" });
  assert.deepEqual(texts(), ["good", "bad"]);
});

test("what the server would end the connection for is refused at once, and holds up nothing", async () => {
  const { maru, server, texts } = await joined();
  const circular = {};
  circular.self = circular;
  const refused = [
    [maru.send(ROOM, "half an emoji: \ud83d"), "bad_request"],
    [maru.send(ROOM, "x", { data: { "\udc00": 1 } }), "bad_request"],
    [maru.send(ROOM, "x", { data: circular }), "bad_request"],
    [maru.send(ROOM, "x".repeat(70_000)), "payload_too_large"],
    [maru.send(ROOM, "루".repeat(22_000)), "payload_too_large"],
    [maru.edit(ROOM, "id", "\ud83d"), "bad_request"],
  ];
  const good = maru.send(ROOM, "whole: \ud83d\ude00");
  for (const [answer, code] of refused) await assert.rejects(answer, { code, retryable: false });
  assert.equal((await good).duplicate, false);
  assert.deepEqual(texts(), ["whole: 😀"]);
  assert.equal(server.connects.length, 1);
});

test("one key in the outbox is one entry, however often it is sent", async () => {
  const { server, maru } = await joined();
  const [first, second] = await Promise.all([maru.send(ROOM, "a", { key: "k" }), maru.send(ROOM, "a", { key: "k" })]);
  assert.equal(first, second);
  assert.equal(sends(server).length, 1);
});

test("the outbox is bounded and says so", async () => {
  const { server, maru } = await joined({ outboxLimit: 2 });
  server.intercept = () => "lose";
  const kept = [maru.send(ROOM, "a"), maru.send(ROOM, "b")];
  await assert.rejects(maru.send(ROOM, "c"), { code: "outbox_full", retryable: false });
  maru.close();
  const results = await Promise.allSettled(kept);
  assert.deepEqual(
    results.map(({ reason }) => reason.code),
    ["closed", "closed"],
  );
});

test("a send older than the server's memory of keys fails rather than risk a double", async () => {
  const { clock, server, maru } = await joined();
  server.down = true;
  server.drop();
  const send = maru.send(ROOM, "stale");
  const outcome = assert.rejects(send, { code: "key_expired" });
  await clock.advance(24 * 3_600_000);
  server.down = false;
  await clock.advance(20_000);
  await outcome;
  assert.equal(sends(server).length, 0);
});

test("with more in flight, what was under way is repeated in order after a reconnect", async () => {
  const { clock, server, maru, texts } = await joined({ inFlight: 8 });
  server.intercept = (event, data) => {
    if (event !== "message:send") return undefined;
    return data.text < "c" ? "lose-ack" : "lose";
  };
  const all = ["a", "b", "c", "d"].map((text) => maru.send(ROOM, text));
  await settled();
  server.intercept = null;
  server.drop();
  await clock.advance(5_000);
  await Promise.all(all);
  assert.deepEqual(texts(), ["a", "b", "c", "d"]);
});

test("edits, deletions and history need a connection, and say so instead of being buffered", async () => {
  const { server, maru } = await joined();
  server.drop();
  await assert.rejects(maru.edit(ROOM, "m1", "x"), { code: "offline", retryable: true });
  await assert.rejects(maru.remove(ROOM, "m1"), { code: "offline" });
  await assert.rejects(maru.history(ROOM), { code: "offline" });
});

test("an unreachable server is tried for ever, with doubling pauses, and called offline after three", async () => {
  const { clock, server, maru, told } = setUp();
  server.down = true;
  maru.connect();
  await clock.advance(0);
  assert.deepEqual(told.states, ["connecting", "connecting"]);
  await clock.advance(1_000);
  await clock.advance(2_000);
  assert.equal(maru.state, "offline");
  await clock.advance(3_600_000);
  server.down = false;
  await clock.advance(10_000);
  assert.equal(maru.state, "online");
});

test("retryNow does not wait for the end of the pause", async () => {
  const { server, maru } = await online();
  server.drop();
  maru.retryNow();
  await settled();
  assert.equal(maru.state, "online");
});

test("a server that takes the WebSocket and says nothing is given up after a deadline", async () => {
  const { clock, server, maru } = setUp();
  server.silent = true;
  maru.connect();
  await clock.advance(10_000);
  assert.equal(maru.error.code, "timeout");
  server.silent = false;
  await clock.advance(5_000);
  assert.equal(maru.state, "online");
});

test("a kept token that the server refuses is replaced by a new one", async () => {
  const { clock, server, maru } = await online();
  const refusal = { code: "unauthenticated", retryable: false };
  server.refusal = ({ token }) => (token === "token-1" ? refusal : null);
  server.drop();
  await clock.advance(5_000);
  assert.equal(maru.state, "online");
  assert.deepEqual(
    server.connects.map(({ token }) => token),
    ["token-1", "token-1", "token-2"],
  );
});

test("a fresh token that is refused ends in signed-out, with the reason and no further attempt", async () => {
  const { clock, server, maru } = setUp();
  server.refusal = { code: "unauthenticated", message: "bad signature", retryable: false };
  maru.connect();
  await clock.advance(60_000);
  assert.equal(maru.state, "signed-out");
  assert.equal(maru.error.code, "unauthenticated");
  assert.equal(server.connects.length, 1);
});

test("tokens that are expired on arrival are tried three times, not for ever", async () => {
  const { clock, server, maru } = setUp();
  server.refusal = { code: "token_expired", retryable: false };
  maru.connect();
  await clock.advance(60_000);
  assert.equal(maru.state, "signed-out");
  assert.equal(server.connects.length, 3);
});

test("a retryable refusal is tried again, not before its retry_after_ms", async () => {
  const { clock, server, maru } = setUp();
  server.refusal = { code: "overloaded", retryable: true, retry_after_ms: 9_000 };
  maru.connect();
  await clock.advance(8_900);
  assert.equal(server.connects.length, 1);
  server.refusal = null;
  await clock.advance(200);
  assert.equal(maru.state, "online");
});

test("session:expiring brings a new token in-band, used for the next connection too", async () => {
  const { clock, server } = await online();
  server.emit("session:expiring", { expires_at: "soon" });
  await settled();
  assert.deepEqual(server.commands.at(-1), ["auth:refresh", { token: "token-2" }]);
  server.drop();
  await clock.advance(5_000);
  assert.equal(server.connects[1].token, "token-2");
});

test("a refresh that fails is tried again while the session lasts", async () => {
  const { clock, server } = await online();
  let refusals = 2;
  server.intercept = () => (refusals-- > 0 ? { code: "unavailable", retryable: true } : undefined);
  server.emit("session:expiring", {});
  await clock.advance(10_000);
  assert.deepEqual(
    server.commands.map(([event]) => event),
    ["auth:refresh", "auth:refresh", "auth:refresh"],
  );
});

test("a session ended because its token expired starts again with a new one and resumes", async () => {
  const { clock, server, maru, offsets } = await joined();
  server.terminate({ code: "token_expired", message: "exp passed" });
  server.post(ROOM, "meanwhile");
  await clock.advance(5_000);
  assert.equal(maru.state, "online");
  assert.equal(server.connects[1].token, "token-2");
  assert.deepEqual(offsets(), [1]);
});

test("a session ended for good is signed-out with the server's code, and what waits fails", async () => {
  const { clock, server, maru } = await joined();
  server.intercept = () => "lose";
  const send = maru.send(ROOM, "a");
  server.terminate({ code: "token_revoked", message: "banned" });
  await assert.rejects(send, { code: "token_revoked" });
  await clock.advance(60_000);
  assert.equal(maru.state, "signed-out");
  assert.equal(server.connects.length, 1);
});

test("a DISCONNECT without a word is for good as well", async () => {
  const { server, maru } = await online();
  server.terminate(null);
  assert.equal(maru.state, "signed-out");
  assert.equal(maru.error.code, "terminated");
});

test("signed-out is not the end: connect starts again and resumes the channels", async () => {
  const { server, maru, offsets } = await joined();
  maru.close();
  server.post(ROOM, "while away");
  maru.connect();
  await settled();
  assert.deepEqual(offsets(), [1]);
});

test("a draining server is left at the given time, with no event missed or doubled, and nobody notices", async () => {
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
  const { clock, server, offsets } = await joined();
  server.post(ROOM, "a");
  server.silent = true; // the next connection does not get through yet
  const old = server.drains(0);
  await clock.advance(10);
  server.silent = false;
  const [heir] = [...server.dialled].slice(-1);
  heir.connected = true;
  server.sockets.add(heir);
  heir.rooms.add(ROOM);
  const [first] = server.log(ROOM).events;
  heir.serverEmits("channel:resumed", { channel: ROOM, epoch: "e1", offset: 1, recovered: true, events: [first] });
  server.post(ROOM, "both");
  const late = server.post(ROOM, "the heir alone", { deliver: false });
  heir.serverEmits("message:created", late);
  server.post(ROOM, "both again");
  old.serverEmits("message:created", late);
  assert.deepEqual(offsets(), [1, 2, 3, 4]);
  heir.serverEmits("session:ready", { user: "ann", session: "s2", expires_at: "2999-01-01T00:00:00.000Z" });
  server.post(ROOM, "over the heir");
  assert.deepEqual(offsets(), [1, 2, 3, 4, 5]);
  assert.equal(old.connected, false);
});

test("a slow resume does not move a channel back", async () => {
  const { clock, server, maru, offsets } = await joined();
  server.silent = true;
  server.drains(0);
  await clock.advance(10);
  const [heir] = [...server.dialled].slice(-1);
  heir.connected = true;
  server.post(ROOM, "a");
  server.post(ROOM, "b");
  const [first] = server.log(ROOM).events;
  heir.serverEmits("channel:resumed", { channel: ROOM, epoch: "e1", offset: 1, recovered: true, events: [first] });
  assert.deepEqual(maru.positions(), { [ROOM]: { epoch: "e1", offset: 2 } });
  assert.deepEqual(offsets(), [1, 2]);
});

test("what is in flight at the change is answered on the old connection, and what comes next waits for it", async () => {
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

test("what the old connection did not answer is sent again over the new one, in order and under its key", async () => {
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

test("an old connection that never answers is let go after a while", async () => {
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

test("where the next connection is refused, the present one goes on, and it is tried again soon", async () => {
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

test("a next connection whose token is refused takes a new one", async () => {
  const { clock, server } = await joined();
  server.refusal = ({ token }) => token === "token-1" && { code: "token_expired", retryable: false };
  server.drains(0);
  await clock.advance(1_000);
  assert.deepEqual(server.connects.map(({ token }) => token), ["token-1", "token-1", "token-2"]);
  assert.equal(server.sockets.size, 1);
});

test("where the old connection ends first, the one under way is the next attempt", async () => {
  const { clock, server, told, offsets } = await joined();
  server.silent = true;
  const old = server.drains(0);
  await clock.advance(10);
  const [heir] = [...server.dialled].slice(-1);
  old.closes("transport close");
  assert.equal(told.states.at(-1), "reconnecting");
  server.silent = false;
  server.post(ROOM, "missed");
  server.answers(heir);
  assert.equal(told.states.at(-1), "online");
  assert.deepEqual(offsets(), [1]);
  assert.equal(server.dialled.length, 2);
  assert.equal(clock.pending, 0);
});

test("an attempt that the old connection has left behind is given up like any other", async () => {
  const { clock, server, told, maru } = await joined();
  server.silent = true;
  const old = server.drains(0);
  await clock.advance(10);
  old.closes("transport close");
  server.silent = false;
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

test("a channel that is joined or left while the next connection is made is so on it too", async () => {
  const { clock, server, maru, offsets } = await joined();
  server.silent = true;
  server.drains(0);
  await clock.advance(10);
  server.silent = false;
  const [heir] = [...server.dialled].slice(-1);
  server.answers(heir, { hold: true });
  await maru.leave(ROOM);
  await maru.join("room:new");
  heir.ready();
  await settled();
  server.post(ROOM, "not heard");
  server.post("room:new", "heard");
  assert.deepEqual(offsets(), [1]);
  assert.deepEqual([...heir.rooms], ["room:new"]);
});

test("a next connection whose server stops, too, before it is ready is left at the time that was given", async () => {
  const { clock, server, told, offsets } = await joined();
  server.silent = true;
  const old = server.drains(0);
  await clock.advance(10);
  server.silent = false;
  const [heir] = [...server.dialled].slice(-1);
  server.answers(heir, { hold: true });
  heir.serverEmits("session:draining", { reconnect_in_ms: 1_000, deadline_ms: 3_000 });
  await clock.advance(400);
  heir.ready();
  assert.equal(old.connected, false);
  await clock.advance(599);
  assert.equal(server.connects.length, 2);
  await clock.advance(1);
  assert.equal(server.connects.length, 3);
  assert.deepEqual([heir.connected, server.sockets.size], [false, 1]);
  server.post(ROOM, "after both");
  assert.deepEqual(offsets(), [1]);
  assert.deepEqual(told.states, ["connecting", "online"]);
});

test("a next connection whose server stops, too, remembers that where the old one ends before it is ready", async () => {
  const { clock, server, told } = await joined();
  server.silent = true;
  const old = server.drains(0);
  await clock.advance(10);
  server.silent = false;
  const [heir] = [...server.dialled].slice(-1);
  server.answers(heir, { hold: true });
  heir.serverEmits("session:draining", { reconnect_in_ms: 1_000, deadline_ms: 3_000 });
  old.closes("transport close");
  heir.ready();
  await clock.advance(1_000);
  assert.equal(server.connects.length, 3);
  assert.deepEqual([heir.connected, server.sockets.size], [false, 1]);
  assert.deepEqual(told.states, ["connecting", "online", "reconnecting", "online"]);
});

test("a next connection whose token ends soon renews it", async () => {
  const { clock, server } = await joined();
  server.silent = true;
  server.drains(0);
  await clock.advance(10);
  server.silent = false;
  const [heir] = [...server.dialled].slice(-1);
  heir.connected = true;
  heir.serverEmits("session:expiring", { expires_at: "2999-01-01T00:00:00.000Z" });
  server.answers(heir);
  await settled();
  assert.deepEqual(server.commands.at(-1), ["auth:refresh", { token: "token-2" }]);
});

test("close also ends the next connection and the retired one, and leaves no timer behind", async () => {
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

test("a token that can not be fetched is a reason to wait, unless the error says otherwise", async () => {
  let failure = new Error("network");
  const getToken = () => (failure ? Promise.reject(failure) : "token");
  const { clock, maru } = setUp({ getToken });
  maru.connect();
  await settled();
  assert.equal(maru.error.code, "token_unavailable");
  failure = null;
  await clock.advance(5_000);
  assert.equal(maru.state, "online");
  failure = Object.assign(new Error("no such user"), { retryable: false });
  maru.close();
  maru.connect();
  await settled();
  assert.equal(maru.state, "signed-out");
});

test("close leaves no timer behind", async () => {
  const { clock, server, maru } = await joined();
  server.intercept = () => "lose";
  maru.send(ROOM, "a").catch(() => {});
  server.emit("session:expiring", {});
  await settled();
  maru.close();
  assert.equal(clock.pending, 0);
});

test("a listener that throws costs nobody an event", async () => {
  const reported = [];
  const { server, maru, offsets } = await joined({ report: (error) => reported.push(error.message) });
  maru.on("event", () => {
    throw new Error("a bug of the application");
  });
  server.post(ROOM, "a");
  server.post(ROOM, "b");
  assert.deepEqual(offsets(), [1, 2]);
  assert.equal(reported.length, 2);
});

test("keys are new each time, also without randomUUID (an insecure origin)", () => {
  const insecure = { getRandomValues: (bytes) => crypto.getRandomValues(bytes) };
  const keys = new Set(Array.from({ length: 100 }, () => newKey(insecure)));
  assert.equal(keys.size, 100);
  for (const key of keys) assert.match(key, /^[0-9a-f]{32}$/);
  assert.notEqual(newKey(), newKey());
});
