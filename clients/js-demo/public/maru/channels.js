/** The joined channels: joins, resumes and leaves over one connection after another. */

import { MaruError } from "./errors.js";
import { backoff } from "./options.js";
import { Subscription } from "./subscription.js";

const RESUME_LIMIT = 500; // channels that the server takes in CONNECT; the others are joined one by one afterwards
const RESUME_CHARS = 32_768; // of CONNECT's 65,536 bytes, which hold the token too; the others are joined afterwards
const TRANSIENT = new Set(["rate_limited", "unavailable", "overloaded"]); // codes of channel:removed that time can heal

/**
 * @typedef {import("./connection.js").Connection} Connection
 * @typedef {import("./subscription.js").Position} Position
 */

export class Channels {
  #session;
  #options;
  #emit;
  /** @type {Map<string, Subscription>} */ #joined = new Map();

  /**
   * @param {import("./session.js").Session} session @param {import("./options.js").Options} options
   * @param {(name: string, value: any) => void} emit tells the application
   */
  constructor(session, options, emit) {
    this.#session = session;
    this.#options = options;
    this.#emit = emit;
  }

  /** The last event seen of each channel. @returns {Record<string, Position>} */
  positions() {
    /** @type {Record<string, Position>} */
    const known = {};
    for (const { channel, position } of this.#joined.values()) if (position) known[channel] = position;
    return known;
  }

  /** The positions for CONNECT, as many as it takes. */
  resume() {
    let room = RESUME_CHARS;
    const known = Object.entries(this.positions()).slice(0, RESUME_LIMIT);
    return Object.fromEntries(known.filter((entry) => (room -= JSON.stringify(entry).length) >= 0));
  }

  /** @param {string} channel @param {{history?: number, since?: Position}} start */
  join(channel, start) {
    let subscription = this.#joined.get(channel);
    if (!subscription) {
      subscription = new Subscription(channel, start, this.#emit, (gapped) => this.#joinNow(gapped));
      this.#joined.set(channel, subscription);
    }
    const answer = subscription.joined();
    if (!subscription.live && this.#session.state === "online") this.#joinNow(subscription);
    return answer;
  }

  /** @param {string} channel */
  async leave(channel) {
    const subscription = this.#joined.get(channel);
    if (!subscription) return;
    this.#forget(subscription, new MaruError("closed", `left ${channel} before it was joined`));
    const { current, replacement } = this.#session;
    replacement?.resumed.delete(channel);
    if (replacement?.connected) this.#sayLeave(channel, replacement);
    if (current?.connected) await this.#session.command("channel:leave", { channel });
  }

  /** Joins every channel that the connection has not resumed. */
  joinAll() {
    for (const subscription of this.#joined.values()) if (!subscription.live) this.#joinNow(subscription);
  }

  /** An event of a channel. @param {Connection} connection @param {string} name @param {any} value */
  heard(connection, name, value) {
    if (name === "channel:resumed") this.#resumed(connection, value);
    else if (name === "channel:removed") this.#removed(connection, value);
    else this.#joined.get(value.channel)?.receive({ event: name, ...value });
  }

  /** A replacement is in use: the channels that it has resumed are live. @param {Connection} connection */
  promoted(connection) {
    for (const subscription of this.#joined.values()) {
      subscription.interrupt();
      if (connection.resumed.has(subscription.channel)) subscription.goLive();
    }
  }

  /** There is no connection any more. */
  dropped() {
    for (const subscription of this.#joined.values()) subscription.drop();
  }

  /** There will be no connection: the callers of `join` need not wait. @param {MaruError} error */
  stopped(error) {
    for (const subscription of this.#joined.values()) subscription.reject(error);
  }

  /** @param {Subscription} subscription */
  async #joinNow(subscription) {
    const { channel, joining, request } = subscription;
    if (joining || this.#joined.get(channel) !== subscription) return;
    const connection = this.#session.current;
    Object.assign(subscription, { live: false, joining: true });
    const isWanted = () => this.#session.current === connection && this.#joined.get(channel) === subscription;
    try {
      const ack = await this.#session.command("channel:join", request);
      if (isWanted()) this.#adopt(subscription, ack);
    } catch (error) {
      if (!isWanted()) return; // the channel was left, or the next connection joins it
      subscription.joining = false;
      if (!(error instanceof MaruError) || !error.retryable) return this.#forget(subscription, error);
      this.#rejoinLater(subscription, error.retryAfterMs);
    }
  }

  /** @param {Subscription} subscription @param {number} [atLeastMs] */
  #rejoinLater(subscription, atLeastMs = 0) {
    subscription.live = false;
    const wait = Math.max(atLeastMs, backoff(this.#options, subscription.attempts++));
    this.#session.current?.after(wait, () => void (subscription.live || this.#joinNow(subscription)));
  }

  /** @param {Subscription} subscription @param {import("./subscription.js").Reply} reply */
  #adopt(subscription, reply) {
    subscription.catchUp(reply);
    subscription.goLive();
  }

  /** @param {Connection} connection @param {any} reply */
  #resumed(connection, reply) {
    const { channel } = reply;
    const subscription = this.#joined.get(channel);
    if (!subscription) return this.#sayLeave(channel, connection); // left after CONNECT was sent
    if (!subscription.position) return; // left and joined again after CONNECT was sent: `joinAll` joins it
    if (connection === this.#session.current) return this.#adopt(subscription, reply);
    subscription.catchUp(reply);
    connection.resumed.add(channel);
  }

  /**
   * Leaves on one connection. If that fails, the next connection does not resume the channel.
   * @param {string} channel @param {Connection} connection
   */
  #sayLeave(channel, connection) {
    this.#session.command("channel:leave", { channel }, connection).catch(() => {});
  }

  /** @param {Connection} connection @param {{channel: string, code: string}} gone */
  #removed(connection, { channel, code }) {
    const subscription = this.#joined.get(channel);
    if (subscription && TRANSIENT.has(code)) {
      if (connection === this.#session.current) this.#rejoinLater(subscription);
      return;
    }
    if (subscription) this.#forget(subscription, new MaruError(code, `no longer in ${channel}`));
    this.#emit("removed", { channel, code });
  }

  /** @param {Subscription} subscription @param {any} error */
  #forget(subscription, error) {
    this.#joined.delete(subscription.channel);
    subscription.end(error);
  }
}
