/** Tokens: which token a connection gets, and how a token is renewed. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { joined, online, replacing, ROOM, setUp } from "./client.js";
import { settled } from "./fake_server.js";

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

test("a refresh that comes too fast waits as long as the server says", async () => {
  const { clock, server } = await online();
  let refusals = 1;
  const refusal = { code: "rate_limited", retryable: true, retry_after_ms: 9_000 };
  server.intercept = () => (refusals-- > 0 ? refusal : undefined);
  server.emit("session:expiring", {});
  await clock.advance(8_900);
  assert.equal(server.commands.length, 1);
  await clock.advance(200);
  assert.equal(server.commands.length, 2);
});

test("a token that says too much, or too little, is replaced at once, and brought by no later connection", async () => {
  const { clock, server } = await online();
  server.intercept = () => "lose";
  server.emit("session:expiring", { expires_at: "soon", reason: "refresh" });
  await settled();
  assert.deepEqual(server.commands, [["auth:refresh", { token: "token-2" }]]);
  server.drop();
  await clock.advance(5_000);
  assert.deepEqual(server.connects.map(({ token }) => token), ["token-1", "token-3"]);
});

test("a connection that is opened with a token which is outdated by then gets a new one too", async () => {
  const { clock, server, old, next } = await replacing();
  old.serverEmits("session:expiring", { expires_at: "soon", reason: "refresh" });
  server.answers(next);
  await settled();
  const refreshed = server.commands.filter(([event]) => event === "auth:refresh").map(([, { token }]) => token);
  assert.deepEqual(refreshed, ["token-3"]);
  next.closes("transport close");
  await clock.advance(5_000);
  assert.equal(server.connects.at(-1).token, "token-3");
});

test("a session that ended with its token starts again with a new token, and resumes", async () => {
  const { clock, server, maru, offsets } = await joined();
  server.terminate({ code: "token_expired", message: "exp passed" });
  server.post(ROOM, "meanwhile");
  await clock.advance(5_000);
  assert.equal(maru.state, "online");
  assert.equal(server.connects[1].token, "token-2");
  assert.deepEqual(offsets(), [1]);
});

test("a failed getToken is tried again, unless its error says that it is final", async () => {
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

test("a token that would cost the connection ends in signed-out, without an attempt", async () => {
  for (const token of [undefined, new Uint8Array(2), "half an emoji \ud83d", "x".repeat(16_385)]) {
    const { clock, server, maru } = setUp({ getToken: () => token });
    maru.connect();
    await clock.advance(60_000);
    assert.deepEqual([maru.state, maru.error.code], ["signed-out", "token_unavailable"]);
    assert.equal(server.dialled.length, 0);
  }
});
