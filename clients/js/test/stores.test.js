/** Stores that fail, are full, never answer or are of another make; and users who change. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { memoryStore } from "../src/storage.js";
import { online, ROOM, sends, setUp } from "./client.js";
import { settled } from "./fake_server.js";

const never = () => new Promise(() => {});
const KEPT = { payload: { channel: ROOM, text: "before", key: "key-before" }, since: 1_000_000, number: 1, user: "ann" };

test("a store that never answers keeps nobody from the server", async () => {
  const storage = { name: "ann", keys: never, get: never, set: never, remove: never };
  const { clock, maru, texts } = setUp({ storage });
  maru.connect();
  const sent = maru.send(ROOM, "hello");
  await clock.advance(10_000);
  assert.equal(maru.state, "online");
  await sent;
  assert.deepEqual(texts(), ["hello"]);
});

test("what was not sent is sent from a full store, too, and is removed there", async () => {
  const texts = new Map([["outbox:gone:key-before", JSON.stringify(KEPT)]]);
  const full = () => {
    throw new Error("QuotaExceededError");
  };
  const { clock, maru, texts: log } = setUp({ storage: { ...memoryStore("ann", texts), set: full } });
  maru.connect();
  await clock.advance(60_000);
  await maru.send(ROOM, "after");
  assert.deepEqual(log(), ["before", "after"]);
  assert.deepEqual([...texts.keys()].filter((key) => key.startsWith("outbox:")), []);
});

test("a store may answer with promises of another make", async () => {
  const texts = new Map();
  const store = memoryStore("ann", texts);
  const later = (value) => ({ then: (take, fail) => Promise.resolve(value).then(take, fail) });
  const storage = {
    name: "ann",
    keys: () => later(store.keys()),
    get: (key) => later(store.get(key)),
    set: (key, value) => later(store.set(key, value)),
    remove: (key) => later(store.remove(key)),
  };
  texts.set(`position:${ROOM}`, JSON.stringify({ epoch: "e1", offset: 1 }));
  const { clock, maru, server, offsets } = setUp({ storage });
  for (const text of ["a", "b"]) server.post(ROOM, text);
  maru.connect();
  maru.join(ROOM);
  await clock.advance(2_000);
  assert.deepEqual(offsets(), [2]);
  assert.deepEqual(JSON.parse(texts.get(`position:${ROOM}`)), { epoch: "e1", offset: 2 });
});

test("a closed client listens no more for the end of the page", () => {
  const listening = new Set();
  Object.assign(globalThis, {
    addEventListener: (_, listener) => listening.add(listener),
    removeEventListener: (_, listener) => listening.delete(listener),
  });
  try {
    const { maru } = setUp({ storage: memoryStore() });
    assert.equal(listening.size, 0);
    maru.connect();
    assert.equal(listening.size, 1);
    maru.close();
    assert.equal(listening.size, 0);
  } finally {
    delete globalThis.addEventListener;
    delete globalThis.removeEventListener;
  }
});

test("a user who comes after another does not send what that one has written", async () => {
  const { clock, maru, server, texts } = await online();
  server.down = true;
  server.drop();
  const failed = assert.rejects(maru.send(ROOM, "ann's"), { code: "closed" });
  server.down = false;
  server.user = "bob";
  await clock.advance(5_000);
  await failed;
  await maru.send(ROOM, "bob's");
  assert.deepEqual(texts(), ["bob's"]);
  assert.equal(sends(server).length, 1);
});

test("arguments of a wrong type reject, or are errors at once; a mark goes no further than what was seen", async () => {
  const { clock, maru, server } = await online();
  for (const call of [
    () => maru.send(ROOM, "a", null),
    () => maru.publish(ROOM, "a", 1, null),
    () => maru.inbox(null),
    () => maru.join(ROOM, null),
  ]) {
    await assert.rejects(call(), TypeError);
  }
  await maru.join(ROOM);
  for (const offset of [Number.NaN, "5", {}, -1, 1.5, null]) assert.throws(() => maru.markRead(ROOM, offset), TypeError);
  server.post(ROOM, "a");
  maru.markRead(ROOM, 1_000_000);
  server.post(ROOM, "b");
  await clock.advance(5_000);
  assert.deepEqual(maru.unread(ROOM), { count: 1, mentions: 0, readOffset: 1 });
});

test("a second join whose history is refused has not joined", async () => {
  const { maru, server } = await online();
  const [first, second] = [maru.channel(ROOM), maru.channel(ROOM)];
  await first.join();
  server.intercept = (event) => (event === "history:read" ? { code: "bad_request", message: "no" } : undefined);
  await assert.rejects(second.join({ history: 1_000 }), { code: "bad_request" });
  await first.leave();
  await settled();
  assert.deepEqual(maru.positions(), {});
});
