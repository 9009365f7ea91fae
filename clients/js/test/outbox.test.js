/** The outbox: every send is one message in the log, or it has failed. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { joined, ROOM, sends } from "./client.js";
import { settled } from "./fake_server.js";

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

test("a send that the server can not take now is tried again, even if timers round to milliseconds", async () => {
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
  const { clock, server, maru, told, texts } = await joined();
  let refused = 0;
  server.intercept = (event) => {
    if (event !== "message:send" || refused++ > 0) return undefined;
    return { code: "rate_limited", retryable: true, retry_after_ms: 7_000, details: { limit: "send_user" } };
  };
  const first = maru.send(ROOM, "a", { key: "k1" });
  await clock.advance(1_000);
  const [{ error, ...delay }] = told.delayed;
  assert.deepEqual(delay, { channel: ROOM, key: "k1", waitMs: 7_000 });
  assert.deepEqual([error.code, error.details.limit], ["rate_limited", "send_user"]);
  const all = [first, maru.send(ROOM, "b")];
  await clock.advance(5_900);
  assert.deepEqual(texts(), []);
  await clock.advance(200);
  await Promise.all(all);
  assert.deepEqual(texts(), ["a", "b"]);
  assert.equal(told.delayed.length, 1);
});

test("close in a listener of a delay is final", async () => {
  const { clock, server, maru } = await joined();
  server.intercept = () => ({ code: "rate_limited", retryable: true, retry_after_ms: 1_000 });
  maru.on("delayed", () => maru.close());
  await assert.rejects(maru.send(ROOM, "a"), { code: "closed" });
  assert.equal(clock.pending, 0);
});

test("a send refused by a rule of the application rejects with its reason, and is not repeated", async () => {
  const { clock, server, maru } = await joined();
  const details = { reason: "no links, please" };
  server.intercept = (event) => event === "message:send" && { code: "permission_denied", retryable: false, details };
  await assert.rejects(maru.send(ROOM, "http://x.test"), { code: "permission_denied", reason: "no links, please" });
  await clock.advance(60_000);
  assert.equal(sends(server).length, 1);
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

test("a payload that would cost the connection is refused at once, and holds up nothing", async () => {
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

test("a send older than the server's memory of keys fails, since a retry could double it", async () => {
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

test("several sends in flight are repeated in order after a reconnect", async () => {
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

test("bytes in data are refused at once, with or without a connection, and hold up nothing", async () => {
  const { maru, server, texts } = await joined();
  const bytes = [new Uint8Array(2), Buffer.from("x"), new ArrayBuffer(2), new DataView(new ArrayBuffer(2))];
  if (typeof Blob === "function") bytes.push(new Blob(["x"]));
  if (typeof File === "function") bytes.push(new File(["x"], "x.txt"));
  const hidden = { toJSON: () => ({ deep: [{ bytes: new Uint8Array(1) }] }) };
  for (const data of [...bytes, ...bytes.map((value) => ({ list: [{ value }] })), hidden]) {
    await assert.rejects(maru.send(ROOM, "bytes", { data }), { code: "bad_request", retryable: false });
  }
  await assert.rejects(maru.edit(ROOM, "m1", "bytes", { value: bytes[0] }), { code: "bad_request" });
  assert.equal((await maru.send(ROOM, "plain")).duplicate, false);
  assert.equal(server.connects.length, 1);
  server.drop();
  await assert.rejects(maru.send(ROOM, "bytes", { data: { value: bytes[0] } }), { code: "bad_request" });
  assert.deepEqual(texts(), ["plain"]);
});

test("data is what it was when it was sent, however often it is repeated", async () => {
  const { clock, server, maru } = await joined();
  server.drop();
  const data = { at: new Date(0), n: 1 };
  const send = maru.send(ROOM, "kept", { data });
  data.n = 2;
  await clock.advance(5_000);
  await send;
  assert.deepEqual(sends(server)[0].data, { at: "1970-01-01T00:00:00.000Z", n: 1 });
});

test("a send that ends the connection fails at the third time, and the other channels' sends go on", async () => {
  const { clock, server, maru } = await joined({ inFlight: 2 });
  server.poison = (event, data) => event === "message:send" && data.text === "poison";
  const before = ["a", "b"].map((channel) => maru.send(`room:${channel}`, "good"));
  const poison = assert.rejects(maru.send(ROOM, "poison"), { code: "connection_ended", retryable: false });
  const behind = [maru.send(ROOM, "behind"), maru.send("room:c", "good")];
  await clock.advance(60_000);
  await poison;
  const receipts = await Promise.all([...before, ...behind, maru.send(ROOM, "later")]);
  assert.deepEqual(receipts.map(({ offset }) => offset), [1, 1, 1, 1, 2]);
  const tries = sends(server).filter(({ text }) => text === "poison").length;
  assert.ok(tries <= 4, `${tries} tries`); // once among the others, three times as the first
  assert.equal(server.connects.length, tries + 1);
  assert.equal(clock.pending, 0);
});

test("a send that the server has answered is not the cause of a lost connection", async () => {
  const { clock, server, maru } = await joined();
  let losses = 0;
  server.intercept = (event) => {
    if (event !== "message:send" || losses === 6) return undefined;
    losses += 1;
    return losses % 2 === 0 ? { code: "unavailable", retryable: true } : "lose";
  };
  const send = maru.send(ROOM, "patient");
  for (let n = 0; n < 3; n++) {
    await settled();
    server.drop();
    await clock.advance(15_000);
  }
  assert.equal((await send).offset, 1);
});

test("close is no loss: what was in flight fails with closed", async () => {
  const { server, maru } = await joined();
  server.intercept = () => "lose";
  for (let n = 0; n < 4; n++) {
    const send = maru.send(ROOM, "again", { key: "k" });
    await settled();
    maru.close();
    await assert.rejects(send, { code: "closed" });
    maru.connect();
    await settled();
  }
});
