/**
 * One connection, from the attempt to its end: one socket.io socket, its timers, and its unanswered commands.
 *
 * `reconnection` is off, and every attempt has a socket of its own: socket.io-client does not retry a refused
 * CONNECT or a server's DISCONNECT, and its offline buffer would double a message.
 */

import { MaruError, transient } from "./errors.js";
import { Places } from "./places.js";

const EVENTS = [
  "session:ready",
  "session:terminated",
  "session:draining",
  "session:expiring",
  "channel:resumed",
  "channel:removed",
  "message:created",
  "message:edited",
  "message:deleted",
  "reaction:changed",
  "event:published",
  "typing:changed",
  "read:updated",
  "presence:joined",
  "presence:left",
  "presence:count",
  "inbox:state",
];
const JOINS_AT_ONCE = 16; // unanswered, or waiting because they came too fast
const RETIRE_MS = 5_000; // for the answers that a replaced connection owes; the server answers within 2 s

/**
 * @typedef {import("./subscription.js").Subscription} Subscription
 * @typedef {{subscription: Subscription, position: import("./position.js").Position, isQuiet: boolean}} Named
 *   a subscription, and the position that CONNECT has named for it; `isQuiet`: without presence events
 * @typedef {{start: (connection: Connection) => object, heard: (connection: Connection, name: string, value: any) => void,
 *            ended: (connection: Connection, error: MaruError) => void}} Hooks
 *   `start` gives what CONNECT says beside the token; `heard` is called for each event of the server, in order; `ended` when
 *   the attempt has failed or the connection is lost. None is called after `close` or `retire`.
 */
export class Connection {
  /** @type {MaruError|null} the server's reason to end it */ terminated = null;
  /** @type {Map<string, Named>} channels that CONNECT has named, and that were not answered yet */ named = new Map();
  /** @type {Set<Subscription>} those that it has resumed while it was a replacement */ resumed = new Set();
  /** @type {Map<string, object>} the channels that it has to leave, each with the leave that repeats */ leaving = new Map();
  joins = new Places(JOINS_AT_ONCE);
  expiring = false; // the token expires soon; heard while it was a replacement
  /** @type {number|null} when the server wants it replaced; heard while it was a replacement */ moveAt = null;

  #options;
  #socket;
  /** @type {Set<any>} timers that end with the connection */ #timers = new Set();
  /** @type {Set<() => void>} end the pauses, which last no longer than the connection */ #pauses = new Set();
  /** @type {any} the timer for session:ready */ #deadline;
  #unanswered = 0; // commands
  #over = false; // closed or retired: events of the server are ignored
  /** @type {(() => void)|null} called once when a retired connection is closed */ #onClosed = null;

  /** Opens the WebSocket. @param {string} token @param {import("./options.js").Options} options @param {Hooks} hooks */
  constructor(token, options, { start, heard, ended }) {
    this.#options = options;
    options.log({ event: "connecting", url: options.url });
    this.#socket = options.io(`${options.url}/chat`, {
      transports: ["websocket"],
      forceNew: true,
      reconnection: false,
      timeout: options.connectTimeoutMs,
      auth: (/** @type {Function} */ give) => give({ token, ...start(this) }),
    });
    const late = transient("timeout", "no session:ready in time");
    this.#deadline = this.after(options.connectTimeoutMs, () => ended(this, late));
    this.#on("connect_error", (error) => ended(this, connectError(error)));
    this.#on("disconnect", (reason) => ended(this, disconnectError(reason)));
    for (const name of EVENTS) {
      this.#on(name, (value) => {
        options.log({ event: "heard", name, channel: value?.channel, offset: value?.offset });
        heard(this, name, value);
      });
    }
  }

  /** Whether commands can be sent. */
  get connected() {
    return this.#socket.connected === true;
  }

  /** Whether it was closed or retired. */
  get over() {
    return this.#over;
  }

  /** Ends the wait for session:ready, which has come. */
  ready() {
    this.#cancel(this.#deadline);
  }

  /**
   * Sends one command. Call it only while `connected`: otherwise socket.io buffers the command.
   * @param {string} event @param {object} data
   * @returns {Promise<any>} the ack; rejects with the server's error, `offline` or `timeout`
   */
  command(event, data) {
    this.#unanswered += 1;
    const options = this.#options;
    return new Promise((resolve, reject) => {
      const answered = (/** @type {any} */ error, /** @type {any} */ ack) => {
        this.#unanswered -= 1;
        options.log({ event: "command", command: event, code: error ? "lost" : (ack?.error?.code ?? "ok") });
        if (error && !this.connected) reject(transient("offline", "the connection was lost"));
        else if (error) reject(transient("timeout", `no answer to ${event}`));
        else if (ack?.ok) resolve(ack);
        else reject(MaruError.from(ack?.error));
        if (this.#unanswered === 0 && this.#onClosed) this.close();
      };
      this.#socket.timeout(options.ackTimeoutMs).emit(event, data, answered);
    });
  }

  /** Calls `run` after a time, unless the connection is over by then. @param {number} ms @param {() => void} run */
  after(ms, run) {
    if (this.#over) return null;
    const timer = this.#options.timers.set(() => {
      this.#timers.delete(timer);
      run();
    }, ms);
    this.#timers.add(timer);
    return timer;
  }

  /** Waits for some time, but not beyond the end of the connection. @param {number} ms */
  async pause(ms) {
    if (this.#over) return;
    await new Promise((/** @type {(value?: any) => void} */ resume) => {
      this.#pauses.add(resume);
      this.after(ms, () => {
        this.#pauses.delete(resume);
        resume();
      });
    });
  }

  /** Ignores further events, and closes after the last answer or `RETIRE_MS`. @param {() => void} onClosed */
  retire(onClosed) {
    this.#cancelAll();
    this.after(RETIRE_MS, () => this.close());
    this.#over = true;
    this.#onClosed = onClosed;
    if (this.#unanswered === 0) this.close();
  }

  /** Closes the WebSocket and stops the timers; unanswered commands reject with `offline`. */
  close() {
    const onClosed = this.#onClosed;
    this.#onClosed = null; // first: socket.io answers the unanswered commands while it disconnects
    this.#over = true;
    this.#cancelAll();
    this.#socket.disconnect();
    onClosed?.();
  }

  /** @param {string} name @param {(value: any) => void} react */
  #on(name, react) {
    this.#socket.on(name, (/** @type {any} */ value) => this.#over || react(value));
  }

  /** @param {any} timer */
  #cancel(timer) {
    this.#timers.delete(timer);
    this.#options.timers.clear(timer);
  }

  #cancelAll() {
    for (const timer of this.#timers) this.#cancel(timer);
    for (const resume of this.#pauses) resume();
    this.#pauses.clear();
  }
}

/** @param {any} error of socket.io: CONNECT_ERROR carries `data` with a code, a failure of the network does not */
function connectError(error) {
  if (error?.data?.code) return MaruError.from(error.data);
  return transient("offline", "the server can not be reached");
}

/** @param {string} reason of socket.io: a DISCONNECT by the server without a reason means "do not come back" */
function disconnectError(reason) {
  if (reason === "io server disconnect") return new MaruError("terminated", "ended by the server");
  return transient("offline", "the connection was lost");
}
