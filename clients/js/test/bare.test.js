/** A world without crypto, TextEncoder and the rest of a browser, as React Native is: the client bundled, in a bare vm. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { createContext, runInContext } from "node:vm";

import { rolldown } from "rolldown";

import { Clock, FakeServer } from "./fake_server.js";

/** The client as one script, without imports. */
async function bundle() {
  const build = await rolldown({ input: new URL("../src/index.js", import.meta.url).pathname });
  const { output } = await build.generate({ format: "iife", name: "maru" });
  await build.close();
  return output[0].code;
}

test("the client works in a bare world, and says what a bad payload is", async () => {
  const clock = new Clock();
  const server = new FakeServer(clock);
  const world = createContext({ io: server.io, clock, console });
  const lacking = "typeof crypto + typeof TextEncoder + typeof setTimeout + typeof navigator + typeof Blob";
  assert.equal(runInContext(lacking, world), "undefined".repeat(5));
  runInContext(await bundle(), world);
  const created = "maru.createMaru({ io, getToken: () => 't', timers: clock })";
  const maru = runInContext(`const client = ${created}; client`, world);
  maru.connect();
  await clock.advance(100);
  assert.equal(maru.state, "online");
  await maru.join("room:a", { history: 5 });
  const sent = await maru.send("room:a", "안녕 👋");
  assert.match(sent.message.key, /^[0-9a-f]{32}$/);
  assert.deepEqual(maru.unread("room:a").count, 0);
  await assert.rejects(maru.send("room:a", "half: \ud83d"), { code: "bad_request" });
  await assert.rejects(maru.send("room:a", "루".repeat(22_000)), { code: "payload_too_large" });
  maru.close();
});
