/** Connecting and reconnecting: when the client tries again, and when it stops. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { joined, online, ROOM, setUp } from "./client.js";
import { settled } from "./fake_server.js";

test("connecting goes to /chat over WebSocket alone, with the token in auth and nothing in the URL", async () => {
  const { server, maru, told } = await online({ url: "http://maru.test" });
  const [socket] = server.sockets;
  assert.equal(socket.url, "http://maru.test/chat");
  assert.deepEqual(socket.options.transports, ["websocket"]);
  assert.deepEqual(server.connects, [{ token: "token-1", resume: {} }]);
  assert.deepEqual(told.states, ["connecting", "online"]);
  assert.equal(maru.session.user, "ann");
});

test("an unreachable server is tried for ever, with doubling pauses; the state is offline after three", async () => {
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

test("an attempt without an answer of the server fails after a deadline", async () => {
  const { clock, server, maru } = setUp();
  server.silent = true;
  maru.connect();
  await clock.advance(10_000);
  assert.equal(maru.error.code, "timeout");
  server.silent = false;
  await clock.advance(5_000);
  assert.equal(maru.state, "online");
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

test("a session ended for good is signed-out with the server's code, and waiting sends fail", async () => {
  const { clock, server, maru } = await joined();
  server.intercept = () => "lose";
  const send = maru.send(ROOM, "a");
  server.terminate({ code: "token_revoked", message: "banned" });
  await assert.rejects(send, { code: "token_revoked" });
  await clock.advance(60_000);
  assert.equal(maru.state, "signed-out");
  assert.equal(server.connects.length, 1);
});

test("a session that was ended on purpose stays signed-out: neither a token nor time is asked", async () => {
  for (const code of ["unauthenticated", "rate_limited"]) {
    const { clock, server, maru } = await joined();
    server.terminate({ code, message: "ended" });
    await clock.advance(60_000);
    assert.deepEqual([maru.state, maru.error.code], ["signed-out", code]);
    assert.equal(server.connects.length, 1);
    maru.connect();
    await settled();
    assert.equal(server.connects[1].token, "token-2");
  }
});

test("a DISCONNECT without a reason ends the session too", async () => {
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

test("close leaves no timer behind", async () => {
  const { clock, server, maru } = await joined();
  server.intercept = () => "lose";
  maru.send(ROOM, "a").catch(() => {});
  server.emit("session:expiring", {});
  await settled();
  maru.close();
  assert.equal(clock.pending, 0);
});

test("edits, deletions and history reads reject at once without a connection", async () => {
  const { server, maru } = await joined();
  server.drop();
  await assert.rejects(maru.edit(ROOM, "m1", "x"), { code: "offline", retryable: true });
  await assert.rejects(maru.remove(ROOM, "m1"), { code: "offline" });
  await assert.rejects(maru.history(ROOM), { code: "offline" });
});

test("close in a listener of any state is final", async () => {
  for (const closing of ["connecting", "online", "reconnecting", "offline"]) {
    const { clock, server, maru, told } = setUp();
    maru.on("state", ({ state }) => state === closing && told.states.length > 1 && maru.close());
    maru.on("ready", () => told.states.push("ready"));
    server.down = closing === "connecting" || closing === "offline";
    maru.connect();
    await settled();
    server.drop();
    await clock.advance(60_000);
    assert.deepEqual([maru.state, told.states.slice(-2)], ["signed-out", [closing, "signed-out"]]);
    assert.equal(clock.pending, 0);
    assert.equal(server.sockets.size, 0);
  }
});

test("slashes at the end of the URL are no part of the namespace", async () => {
  for (const url of ["http://maru.test/", "http://maru.test//", "http://maru.test", "/", ""]) {
    const { server } = await online({ url });
    assert.equal([...server.sockets][0].url, `${url.replaceAll(/\/+$/g, "")}/chat`);
  }
});
