/** A reload loses no unsent message, and doubles none; so does a tab that is closed. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { createMaru } from "../src/index.js";
import { asyncStore, memoryStore } from "../src/storage.js";
import { ROOM, setUp, sends } from "./client.js";
import { settled } from "./fake_server.js";

/** Texts as React Native's AsyncStorage keeps them. */
class AsyncArea {
  texts = new Map();
  getAllKeys = async () => [...this.texts.keys()];
  getItem = async (key) => this.texts.get(key) ?? null;
  setItem = async (key, value) => void this.texts.set(key, value);
  removeItem = async (key) => void this.texts.delete(key);
}

/** Another page on the same store: a tab, or the page after its reload. */
function page({ server, clock }, storage, options = {}) {
  const told = { restored: [], settled: [], events: [] };
  const maru = createMaru({ io: server.io, getToken: () => "t", timers: clock, random: () => 0.5, storage, ...options });
  maru.on("restored", ({ sends: all }) => told.restored.push(...all.map(({ text }) => text)));
  maru.on("settled", ({ key, error }) => told.settled.push([key, error?.code ?? "ok"]));
  maru.on("event", ({ offset }) => told.events.push(offset));
  maru.connect();
  return { maru, told };
}

/** The page is gone, without a word: its connection too, and it does nothing any more. */
async function kill(world) {
  world.server.down = true;
  world.server.drop();
  world.clock.kill();
  await settled();
  world.server.down = false;
}

for (const [name, makeStore] of [
  ["that answers at once", () => memoryStore()],
  ["that answers later", () => asyncStore("ann", new AsyncArea())],
]) {
  test(`what was not sent is sent after a reload, in its order, under its key: a store ${name}`, async () => {
    const storage = makeStore();
    const world = setUp({ storage });
    const { clock, server, maru } = world;
    maru.connect();
    await clock.advance(100);
    server.intercept = (event, data) => (event === "message:send" ? (data.text === "a" ? "lose-ack" : "lose") : undefined);
    for (const text of ["a", "b", "c"]) maru.send(ROOM, text, { key: `key-${text}` }).catch(() => {});
    await clock.advance(100);
    await kill(world);
    server.intercept = null;
    for (const key of await storage.keys()) if (key.startsWith("tab:")) await storage.remove(key); // as `pagehide` does
    const { told, maru: next } = page(world, storage);
    next.send(ROOM, "d", { key: "key-d" });
    assert.deepEqual(told.restored, []);
    await clock.advance(40_000);
    assert.deepEqual(told.restored, ["a", "b", "c"]);
    assert.deepEqual(told.settled, [["key-a", "ok"], ["key-b", "ok"], ["key-c", "ok"], ["key-d", "ok"]]);
    assert.deepEqual(world.texts(), ["a", "b", "c", "d"]);
    assert.deepEqual(next.unsent(), []);
    assert.deepEqual((await storage.keys()).filter((key) => key.startsWith("outbox:")), []);
  });

  test(`a join without history goes on from the position that was kept: a store ${name}`, async () => {
    const storage = makeStore();
    const world = setUp({ storage });
    const { clock, server, maru } = world;
    maru.connect();
    await clock.advance(100);
    await maru.join(ROOM);
    server.post(ROOM, "a");
    server.post(ROOM, "b");
    await clock.advance(2_000);
    await kill(world);
    server.post(ROOM, "c");
    const first = page(world, storage);
    first.maru.join(ROOM);
    await clock.advance(2_000);
    assert.deepEqual(first.told.events, [3]);
    await first.maru.leave(ROOM);
    await clock.advance(2_000);
    server.post(ROOM, "d");
    const second = page(world, storage);
    second.maru.join(ROOM);
    await clock.advance(100);
    assert.deepEqual(second.told.events, []);
  });
}

test("two tabs do not send each other's messages, however long they wait", async () => {
  const storage = memoryStore();
  const world = setUp();
  const { clock, server } = world;
  const [one, two] = [page(world, storage), page(world, storage)];
  await clock.advance(100);
  server.intercept = (event) => (event === "message:send" ? "lose" : undefined);
  one.maru.send(ROOM, "of one", { key: "k1" }).catch(() => {});
  await clock.advance(60_000);
  assert.deepEqual(two.told.restored, []);
  server.intercept = null;
  await clock.advance(20_000);
  assert.deepEqual([one.told.settled, two.told.settled], [[["k1", "ok"]], []]);
  assert.equal(server.log(ROOM).events.length, 1);
});

test("what a user has not sent is not sent by the next user of the browser", async () => {
  const storage = memoryStore();
  const world = setUp({ storage });
  const { clock, server, maru } = world;
  server.down = true;
  maru.connect();
  maru.send(ROOM, "before any session", { key: "k0" }).catch(() => {});
  server.down = false;
  await clock.advance(5_000);
  server.intercept = (event) => (event === "message:send" ? "lose" : undefined);
  maru.send(ROOM, "of ann", { key: "k1" }).catch(() => {});
  await clock.advance(100);
  await kill(world);
  server.intercept = null;
  server.user = "bob";
  const bob = page(world, storage);
  await clock.advance(60_000);
  bob.maru.close();
  assert.deepEqual([bob.told.restored, world.texts()], [[], ["before any session"]]);
  server.user = "ann";
  const ann = page(world, storage);
  await clock.advance(60_000);
  assert.deepEqual(ann.told.restored, ["of ann"]);
});

test("a store that fails, or holds nonsense, costs no message", async () => {
  const entries = [];
  const texts = new Map([["outbox:x:y", "{"], ["outbox:x:z", "{}"], [`position:${ROOM}`, "[]"]]);
  const broken = memoryStore("broken", texts);
  broken.set = () => {
    throw new Error("the quota is exceeded");
  };
  const world = setUp({ storage: broken, log: (entry) => entries.push(entry.event) });
  world.maru.connect();
  await world.clock.advance(100);
  await world.maru.join(ROOM);
  await world.maru.send(ROOM, "a");
  assert.deepEqual(world.texts(), ["a"]);
  assert.ok(entries.includes("storage.failed"));
});

test("a send that fails for good is not kept, and close leaves nothing behind", async () => {
  const storage = memoryStore();
  const world = setUp({ storage });
  const { clock, server, maru } = world;
  maru.connect();
  await clock.advance(100);
  server.intercept = (event, data) => data.text === "bad" && { code: "bad_request", retryable: false };
  await assert.rejects(maru.send(ROOM, "bad"), { code: "bad_request" });
  server.intercept = () => "lose";
  const late = assert.rejects(maru.send(ROOM, "late"), { code: "closed" });
  await settled();
  maru.close();
  await late;
  await settled();
  assert.deepEqual(storage.keys(), ["user"]);
  assert.equal(sends(server).length, 2);
  assert.equal(clock.pending, 0);
});
