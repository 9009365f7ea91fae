/**
 * The client core of Maru: a folder to copy. It needs nothing but the `io` of socket.io-client 4, handed in.
 *
 * It keeps three promises over lost connections, server restarts and expiring tokens:
 *  - every event of a joined channel reaches `on("event")` once, in offset order, or `on("reset")` says that
 *    history has to be read again;
 *  - every send is retried under one key until the server answers, so it is in the log once or it has failed;
 *  - it never gives up on an error that time can heal, and stops with a reason on any other error.
 *
 * @typedef {import("./position.js").Position} Position
 * @typedef {import("./subscription.js").LogEvent} LogEvent
 * @typedef {import("./session.js").State} State
 *
 * @typedef {object} Events
 * @property {{state: State, error: MaruError|null}} state has changed; `error` is its reason, if there is one
 * @property {any} ready the session: commands can be sent
 * @property {LogEvent} event of a joined channel: in order, once
 * @property {{channel: string, reason: string, epoch: string, offset: number}} reset events are missing: read the
 *   channel's history
 * @property {{channel: string, code: string, reason?: string}} removed the session is no longer in a channel that the
 *   application has not left; `reason` in the words of the application's own rules, if they have given it
 * @property {{channel: string, key: string|null, error: MaruError, waitMs: number}} delayed the server has refused a
 *   send (`key`) or a join (null) for now, for instance as `rate_limited`: it is tried again after `waitMs`
 */

import { Channels } from "./channels.js";
import { MaruError } from "./errors.js";
import { DEFAULTS } from "./options.js";
import { newKey, Outbox } from "./outbox.js";
import { Session } from "./session.js";

export { MaruError, newKey };

/**
 * Makes a client. It does nothing before `connect`.
 * @param {Partial<typeof DEFAULTS> & {io: Function, getToken: () => Promise<string>|string}} options
 *   `getToken` gives a token that is valid now; it is called again when a token is refused or about to expire. An
 *   error it throws is retried, unless the error says `retryable: false`.
 */
export function createMaru(options) {
  return new Maru(options);
}

export class Maru {
  /** @type {Map<string, Set<Function>>} */ #listeners = new Map();
  #options;
  /** @type {Session} */ #session;
  /** @type {Channels} */ #channels;
  /** @type {Outbox} */ #outbox;

  /** @param {Parameters<typeof createMaru>[0]} options */
  constructor(options) {
    if (typeof options?.io !== "function") throw new TypeError("createMaru needs `io` of socket.io-client");
    if (typeof options.getToken !== "function") throw new TypeError("createMaru needs `getToken()`");
    const emit = (/** @type {string} */ name, /** @type {any} */ value) => this.#emit(name, value);
    this.#options = { ...DEFAULTS, ...options };
    this.#options.url = String(this.#options.url ?? "").replace(/\/+$/, ""); // "https://host/" would ask for the namespace "//chat"
    this.#session = new Session(this.#options, {
      resume: (connection) => this.#channels.resume(connection),
      heard: (connection, name, value) => this.#channels.heard(connection, name, value),
      state: (state, error) => emit("state", { state, error }),
      ready: (session) => this.#ready(session),
      promoted: (connection) => this.#channels.promoted(connection),
      answersLost: (isLoss) => this.#outbox.answersLost(isLoss),
      dropped: () => this.#channels.dropped(),
      stopped: (error) => {
        this.#outbox.stopped(error);
        this.#channels.stopped(error);
      },
    });
    this.#channels = new Channels(this.#session, this.#options, emit);
    this.#outbox = new Outbox(this.#session, this.#options, emit);
  }

  /** @returns {State} */
  get state() {
    return this.#session.state;
  }

  /** @returns {MaruError|null} the reason of the state, if there is one */
  get error() {
    return this.#session.error;
  }

  /** @returns {any} the last session:ready: user, session, expires_at, limits, ... */
  get session() {
    return this.#session.info;
  }

  /**
   * Calls `listener` for each event of a name, of which `Events` tells.
   * @template {keyof Events} Name
   * @param {Name} name @param {(value: Events[Name]) => void} listener
   * @returns {() => void} takes the listener off again
   */
  on(name, listener) {
    const set = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, set.add(listener));
    return () => void set.delete(listener);
  }

  /** Starts, and starts again after "signed-out". Returns at once; the `state` event tells the rest. */
  connect() {
    this.#session.connect();
  }

  /** Tries now instead of at the end of the backoff: for the browser's `online` event, or a button. */
  retryNow() {
    this.#session.retryNow();
  }

  /** Ends the session: unanswered sends and joins fail with `closed`. Positions are kept for `connect`. */
  close() {
    this.#session.stop(new MaruError("closed", "closed by the application"));
  }

  /** The last event seen of each joined channel. @returns {Record<string, Position>} */
  positions() {
    return this.#channels.positions();
  }

  /**
   * Joins as soon as there is a connection, and stays joined over reconnects until `leave` or `removed`.
   * @param {string} channel
   * @param {{history?: number, since?: Position}} [options] the last N events, or all after a kept position
   * @returns {Promise<{channel: string, epoch: string, offset: number}>}
   */
  join(channel, { history, since } = {}) {
    return this.#channels.join(channel, { history, since });
  }

  /**
   * Leaves: from now on the application gets nothing of the channel. Resolves when the server does not send it any more.
   * @param {string} channel @returns {Promise<void>}
   */
  leave(channel) {
    return this.#channels.leave(channel);
  }

  /**
   * Puts a message into the outbox. Resolves when it is in the log; rejects when it can not get there.
   * Repeating a failed send with its `key` makes no second message for 24 h from its first try; after that it can.
   * @param {string} channel @param {string} text
   * @param {{key?: string, data?: object, replyTo?: string}} [options]
   * @returns {Promise<{message: any, epoch: string, offset: number, duplicate: boolean}>}
   */
  send(channel, text, { key = newKey(), data, replyTo } = {}) {
    return this.#outbox.send({ channel, text, data, reply_to: replyTo, key });
  }

  /** @param {string} channel @param {string} id @param {string} text @param {object} [data] */
  edit(channel, id, text, data) {
    return this.#session.command("message:edit", { channel, id, text, data });
  }

  /** @param {string} channel @param {string} id */
  remove(channel, id) {
    return this.#session.command("message:delete", { channel, id });
  }

  /**
   * Messages in their current state, oldest first. @param {string} channel
   * @param {{before?: number, after?: number, limit?: number}} [page] `before` and `after` are exclusive
   * @returns {Promise<{messages: any[], epoch: string, offset: number, more: boolean}>}
   */
  history(channel, page = {}) {
    return this.#session.command("history:read", { channel, ...page });
  }

  /** @param {any} session */
  #ready(session) {
    this.#emit("ready", session);
    this.#channels.joinAll();
    this.#outbox.flushAll();
  }

  /** A listener that throws must not cost the others an event. @param {string} name @param {any} value */
  #emit(name, value) {
    const set = this.#listeners.get(name) ?? new Set();
    for (const listener of [...set]) {
      try {
        if (set.has(listener)) listener(value); // else a listener before it has taken it off
      } catch (error) {
        this.#options.report(error);
      }
    }
  }
}
