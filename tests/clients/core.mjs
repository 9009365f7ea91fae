/**
 * The client core on a real socket.io-client, driven over JSON lines: for tests written in another language.
 *
 *     node tests/clients/core.mjs  one command per line on stdin, one report per line on stdout
 *
 * Commands. `id` is any JSON value; the answer carries it back.
 *
 *     {"id": 1, "do": "connect", "url": "http://127.0.0.1:8080", "token": "..."}
 *         or "tokens": ["...", "..."]: one per request for a token, the last one again and again;
 *         "options": {...} goes to createMaru (backoffMinMs, ackTimeoutMs, inFlight, outboxLimit, ...)
 *     {"id": 2, "do": "join", "channel": "room:a", "history": 10}            or "since": {"epoch": "...", "offset": 3}
 *     {"id": 3, "do": "leave", "channel": "room:a"}
 *     {"id": 4, "do": "send", "channel": "room:a", "text": "hi"}             also "key", "data", "replyTo"
 *     {"id": 5, "do": "edit", "channel": "room:a", "message": "ID", "text": "hello"}
 *     {"id": 6, "do": "remove", "channel": "room:a", "message": "ID"}
 *     {"id": 7, "do": "history", "channel": "room:a", "before": 9, "limit": 50}   also "after"
 *     {"id": 8, "do": "positions"}
 *     {"id": 9, "do": "raw-disconnect"}     cuts the TCP connection without a close frame
 *     {"id": 10, "do": "retry-now"}         ends the pause before the next attempt
 *     {"id": 11, "do": "close"}             signs out; "connect" without url or token comes back
 *     {"id": 12, "do": "quit"}              ends the process; so does the end of stdin
 *
 * Reports.
 *
 *     {"type": "answer", "id": 4, "ok": true, "value": {...}}
 *     {"type": "answer", "id": 4, "ok": false, "error": {"code": "...", "message": "...", "retryable": false}}
 *     {"type": "state", "state": "online", "error": null}
 *     {"type": "ready", "session": {...}}
 *     {"type": "event", "event": {"event": "message:created", "channel": "...", "epoch": "...", "offset": 1, ...}}
 *     {"type": "reset", "channel": "...", "reason": "...", "epoch": "...", "offset": 9}
 *     {"type": "removed", "channel": "...", "code": "..."}
 *     {"type": "delayed", "channel": "...", "key": "...", "waitMs": 900, "error": {"code": "rate_limited", ...}}
 *
 * A command is begun when its line is read and answered when it is done: several may be under way at once, so sends
 * stay in order and go out together. A token is never reported.
 */

import { createRequire } from "node:module";
import { createInterface } from "node:readline";

import { createMaru } from "../../clients/js/src/index.js";

const here = createRequire(new URL("../../clients/js-demo/package.json", import.meta.url));
const { io } = here("socket.io-client");

/** @type {import("../../clients/js/src/index.js").Maru|null} */
let maru = null;
/** @type {any} */
let socket = null;

/** @param {object} report */
function say(report) {
  process.stdout.write(`${JSON.stringify(report)}\n`);
}

/** @param {any} command */
function connect({ url, token, tokens = [token], options = {} }) {
  if (maru) return void maru.connect();
  let used = 0;
  maru = createMaru({
    ...options,
    io: (/** @type {any[]} */ ...args) => (socket = io(.../** @type {[string, object]} */ (args))),
    url,
    getToken: () => tokens[Math.min(used++, tokens.length - 1)],
  });
  maru.on("state", ({ state, error }) => say({ type: "state", state, error: error && wire(error) }));
  maru.on("ready", (session) => say({ type: "ready", session }));
  maru.on("event", (event) => say({ type: "event", event }));
  maru.on("reset", (reset) => say({ type: "reset", ...reset }));
  maru.on("removed", (removed) => say({ type: "removed", ...removed }));
  maru.on("delayed", ({ error, ...delay }) => say({ type: "delayed", ...delay, error: wire(error) }));
  maru.connect();
}

/** @param {any} command @param {import("../../clients/js/src/index.js").Maru} client */
function run(command, client) {
  const { channel, message, text, data, key, replyTo, history, since, before, after, limit } = command;
  switch (command.do) {
    case "join":
      return client.join(channel, { history, since });
    case "leave":
      return client.leave(channel);
    case "send":
      return client.send(channel, text, { key, data, replyTo });
    case "edit":
      return client.edit(channel, message, text, data);
    case "remove":
      return client.remove(channel, message);
    case "history":
      return client.history(channel, { before, after, limit });
    case "positions":
      return client.positions();
    case "raw-disconnect":
      return socket?.io.engine.transport.ws.terminate();
    case "retry-now":
      return client.retryNow();
    case "close":
      return client.close();
    default:
      throw new Error(`unknown command ${JSON.stringify(command.do)}`);
  }
}

/** @param {any} error */
function wire({ code = "bad_request", message, retryable = false }) {
  return { code, message, retryable };
}

/** @param {string} line */
async function handle(line) {
  const command = JSON.parse(line);
  const { id = null } = command;
  try {
    if (command.do === "quit") process.exit(0);
    if (command.do !== "connect" && !maru) throw new Error('"connect" comes first');
    const value = command.do === "connect" ? connect(command) : await run(command, /** @type {any} */ (maru));
    say({ type: "answer", id, ok: true, value: value ?? null });
  } catch (error) {
    say({ type: "answer", id, ok: false, error: wire(error) });
  }
}

const lines = createInterface({ input: process.stdin });
lines.on("line", handle);
lines.on("close", () => process.exit(0));
