/** The package as `npm pack` makes it, in an empty project: its files, its types, its size. */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { gzipSync } from "node:zlib";

import { rolldown } from "rolldown";

const ROOT = new URL("..", import.meta.url).pathname;
const BYTES_MOST = 15_000; // min+gzip of all but React: what a page pays
const project = mkdtempSync(join(tmpdir(), "maru-client-"));
after(() => rmSync(project, { recursive: true }));

const run = (command, ...words) => execFileSync(command, words, { cwd: project, encoding: "utf8", stdio: "pipe" });
const tsc = (...words) => run(join(ROOT, "node_modules/.bin/tsc"), ...words);

/** An empty project, as `npm init -y` makes it, with the package and what it needs. */
function install() {
  run("npm", "init", "-y");
  run("npm", "pack", "--silent", "--pack-destination", project, ROOT);
  const [archive] = readdirSync(project).filter((name) => name.endsWith(".tgz"));
  run("npm", "install", "--offline", "--no-audit", "--no-fund", "--legacy-peer-deps", `./${archive}`);
  for (const name of ["socket.io-client", "react", "@types"]) {
    symlinkSync(join(ROOT, "node_modules", name), join(project, "node_modules", name));
  }
}

install();

test("it brings its sources and their types, and nothing else", () => {
  const folder = join(project, "node_modules/@maru/client");
  assert.deepEqual(readdirSync(folder).sort(), ["README.md", "package.json", "src", "types"]);
  const sources = readdirSync(join(folder, "src")).map((name) => name.replace(".js", ".d.ts"));
  assert.deepEqual(readdirSync(join(folder, "types")), sources);
});

test("it is imported under its names; a client that is closed lets the process end", () => {
  writeFileSync(
    join(project, "use.mjs"),
    `import { createMaru, MaruError } from "@maru/client";
     import { useChannel, usePresence, useUnread, MaruProvider } from "@maru/client/react";
     import { memoryStore } from "@maru/client/storage";
     import { io } from "socket.io-client";
     const storage = memoryStore();
     const maru = createMaru({ io, url: "http://127.0.0.1:9/", getToken: () => "t", backoffMinMs: 10, storage });
     maru.on("state", ({ state }) => state === "offline" && maru.close());
     maru.connect();
     const error = await maru.send("room:a", "hi").catch((refusal) => refusal);
     console.log(error instanceof MaruError, error.code);`,
  );
  assert.equal(run("node", "use.mjs"), "true closed\n");
});

test("its user's file is checked by tsc --strict: what is right passes, and each mistake is found", () => {
  writeFileSync(join(project, "user.ts"), readFileSync(join(ROOT, "test/user.ts")));
  const options = ["--noEmit", "--strict", "--target", "es2022", "--types", ""];
  tsc(...options, "--module", "nodenext", "--moduleResolution", "nodenext", "--lib", "es2022,dom", "user.ts");
  tsc(...options, "--module", "esnext", "--moduleResolution", "bundler", "--lib", "es2022,dom", "user.ts");
});

test("its size", async (t) => {
  for (const entry of ["index.js", "storage.js", "react.js"]) {
    const build = await rolldown({ input: join(ROOT, "src", entry), external: ["react"] });
    const { output } = await build.generate({ format: "esm", minify: true });
    await build.close();
    const bytes = gzipSync(output[0].code, { level: 9 }).length;
    t.diagnostic(`${entry}: ${output[0].code.length} bytes minified, ${bytes} with gzip`);
    assert.ok(bytes < BYTES_MOST, `${entry}: ${bytes}`);
  }
});
