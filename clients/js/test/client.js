/** A client of the core on a server in memory, with a clock to be moved. */

import assert from "node:assert/strict";

import { createMaru } from "../src/index.js";
import { Clock, FakeServer, settled } from "./fake_server.js";

export const ROOM = "room:lobby";

/** A server, a clock, a client, and everything the client told the application. */
export function setUp(options = {}) {
  const clock = new Clock();
  const server = new FakeServer(clock);
  const told = { states: [], events: [], resets: [], removed: [], delayed: [] };
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
  maru.on("delayed", (delay) => told.delayed.push(delay));
  const offsets = () => told.events.map((event) => event.offset);
  const texts = () => server.log(ROOM).events.map((event) => event.message.text);
  return { clock, server, maru, told, offsets, texts };
}

/** A client that is online. */
export async function online(options) {
  const all = setUp(options);
  all.maru.connect();
  await settled();
  assert.equal(all.maru.state, "online");
  return all;
}

/** A client in the channel `ROOM`. */
export async function joined(options) {
  const all = await online(options);
  await all.maru.join(ROOM);
  return all;
}

/** A client in `ROOM` whose server stops: `next` is the replacement of `old`, opened and not answered yet. */
export async function replacing(options) {
  const all = await joined(options);
  all.server.silent = true;
  const old = all.server.drains(0);
  await all.clock.advance(10);
  all.server.silent = false;
  return { ...all, old, next: all.server.dialled.at(-1) };
}

/** The payloads of all sends that the server has seen. */
export function sends(server) {
  return server.commands.filter(([event]) => event === "message:send").map(([, data]) => data);
}
