/** The facade, and the folder that people copy. */

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";

import { newKey } from "../src/index.js";
import { joined, ROOM } from "./client.js";

const ENTRIES = ["index.js", "react.js", "storage.js", "types.js"]; // types.js has types alone

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

test("the folder can be copied: it imports nothing but its own files, and React where React is wanted", () => {
  const folder = new URL("../src/", import.meta.url);
  const files = readdirSync(folder);
  const imports = files.flatMap((file) => {
    const source = readFileSync(new URL(file, folder), "utf8");
    return Array.from(source.matchAll(/^(?:import|export)\b[^;]*?\bfrom "([^"]+)"/gm), ([, name]) => ({ file, name }));
  });
  const strangers = imports.filter(({ file, name }) => !files.includes(name.replace("./", "")) && file !== "react.js");
  assert.deepEqual(strangers, []);
  const imported = new Set(imports.map(({ name }) => name.replace("./", "")));
  const entries = files.filter((file) => !imported.has(file));
  assert.deepEqual(entries.sort(), ENTRIES);
});

test("no source needs what an old engine lacks: a pattern with a Unicode property is a syntax error there", () => {
  const folder = new URL("../src/", import.meta.url);
  for (const file of readdirSync(folder)) {
    assert.doesNotMatch(readFileSync(new URL(file, folder), "utf8"), /\\p\{|TextEncoder\(|structuredClone|\.at\(/, file);
  }
});
