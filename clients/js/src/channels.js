/** The joined channels: joins, resumes and leaves over one connection after another. */

import { MaruError } from "./errors.js";
import { Leaves } from "./leaves.js";
import { backoff } from "./options.js";
import { isChannelName, isPosition } from "./position.js";
import { Subscription } from "./subscription.js";

const RESUME_LIMIT = 500; // channels that the server takes in CONNECT; the others are joined one by one afterwards
const RESUME_CHARS = 32_768; // of CONNECT's 65,536 bytes, which hold the token too; the others are joined afterwards
const TRANSIENT = new Set(["rate_limited", "unavailable", "overloaded"]); // codes of channel:removed that time can heal

/**
 * @typedef {import("./connection.js").Connection} Connection
 * @typedef {import("./position.js").Position} Position
 */

export class Channels {
  #session;
  #options;
  #emit;
  #peopleOf;
  #leaves;
  /** @type {Map<string, Subscription>} */ #joined = new Map();

  /**
   * @param {import("./session.js").Session} session @param {import("./options.js").Options} options
   * @param {(name: string, value: any) => void} emit tells the application
   * @param {(subscription: Subscription) => import("./people.js").People} peopleOf makes what it keeps of the people
   */
  constructor(session, options, emit, peopleOf) {
    this.#session = session;
    this.#options = options;
    this.#emit = emit;
    this.#peopleOf = peopleOf;
    this.#leaves = new Leaves(session, options);
  }

  /** The last event seen of each channel. @returns {Record<string, Position>} */
  positions() {
    /** @type {Record<string, Position>} */
    const known = {};
    for (const { channel, position } of this.#joined.values()) if (position) known[channel] = position;
    return known;
  }

  /**
   * The positions for CONNECT, as many as it takes. The connection remembers whom they are of: an answer that comes
   * after a `leave` is not for a later subscription to the same channel.
   * @param {Connection} connection
   */
  resume({ named }) {
    /** @type {Record<string, object>} */ const entries = {};
    let room = RESUME_CHARS;
    for (const subscription of this.#joined.values()) {
      const { channel, position, resume } = subscription;
      if (!position || !resume || !isChannelName(channel)) continue; // joined alone: CONNECT is refused as a whole
      room -= JSON.stringify([channel, resume]).length;
      if (room < 0 || named.size === RESUME_LIMIT) break;
      named.set(channel, { subscription, position, isQuiet: subscription.isQuiet });
      entries[channel] = resume;
    }
    return entries;
  }

  /** @param {string} channel @param {import("./types.js").JoinOptions} start */
  join(channel, start) {
    if (start.since && !isPosition(start.since)) {
      return Promise.reject(new MaruError("bad_request", `since is no position of ${channel}`));
    }
    let subscription = this.#joined.get(channel);
    if (!subscription) {
      const rejoin = (/** @type {Subscription} */ gapped) => this.#joinNow(gapped);
      subscription = new Subscription(channel, start, this.#emit, rejoin, this.#peopleOf);
      subscription.isQuiet = start.presence === false;
      this.#joined.set(channel, subscription);
    } else if (start.presence !== false) this.attend(channel);
    const answer = subscription.joined();
    if (!subscription.live && this.#session.state === "online") this.#joinNow(subscription);
    return answer;
  }

  /** @param {string} channel */
  get(channel) {
    return this.#joined.get(channel);
  }

  /** From now on somebody wants to be told of those who come and go. @param {string} channel */
  attend(channel) {
    const subscription = this.#joined.get(channel);
    if (!subscription?.isQuiet) return;
    subscription.isQuiet = false;
    this.#session.replacement?.resumed.delete(subscription); // it is joined when that connection is in use
    if (subscription.live) this.#joinNow(subscription);
  }

  /** Positions that were kept, for the channels that have none. @param {Map<string, Position>} kept */
  begin(kept) {
    for (const [channel, subscription] of this.#joined) {
      const position = kept.get(channel);
      if (position) subscription.begin(position);
    }
  }

  /** @param {string} channel */
  async leave(channel) {
    const subscription = this.#joined.get(channel);
    if (!subscription) return;
    this.#forget(subscription, new MaruError("closed", `left ${channel} before it was joined`));
    const { current, replacement } = this.#session;
    replacement?.resumed.delete(subscription);
    if (replacement?.connected) this.#leaves.say(channel, replacement).catch(() => {});
    if (current?.connected) await this.#leaves.say(channel, current);
  }

  /** Commands can be sent: joins every channel that the connection has not resumed. */
  joinAll() {
    for (const subscription of this.#joined.values()) {
      if (subscription.live) subscription.people.live();
      else this.#joinNow(subscription);
    }
  }

  /** An event of a channel. @param {Connection} connection @param {string} name @param {any} value */
  heard(connection, name, value) {
    if (name === "channel:resumed") this.#resumed(connection, value);
    else if (name === "channel:removed") this.#removed(connection, value);
    else if (typeof value.offset !== "number" || name === "read:updated") {
      const subscription = this.#joined.get(value.channel);
      if (connection === this.#session.current && subscription?.live) subscription.people.heard(name, value);
    } else this.#joined.get(value.channel)?.receive({ event: name, ...value });
  }

  /** A replacement is in use: the channels that it has resumed are live. @param {Connection} connection */
  promoted(connection) {
    for (const subscription of this.#joined.values()) {
      if (connection.over) return; // closed by a listener that got an event
      subscription.interrupt();
      if (connection.resumed.has(subscription)) subscription.goLive();
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
    const { channel, joining } = subscription;
    const connection = this.#session.current;
    if (!connection || joining || this.#joined.get(channel) !== subscription) return;
    Object.assign(subscription, { live: false, joining: true });
    const place = connection.joins.take();
    if (place) await place;
    const isWanted = () => this.#session.current === connection && this.#joined.get(channel) === subscription;
    let restMs = 0;
    try {
      if (isWanted()) restMs = await this.#joinOnce(subscription, connection, isWanted);
    } finally {
      if (restMs > 0) connection.after(restMs, () => connection.joins.release());
      else connection.joins.release();
    }
  }

  /**
   * @param {Subscription} subscription @param {Connection} connection
   * @param {() => boolean} isWanted false if the channel was left, or the next connection joins it
   * @returns {Promise<number>} how long nobody else should take its place, since it came too fast
   */
  async #joinOnce(subscription, connection, isWanted) {
    const { channel, position, request } = subscription;
    connection.leaving.delete(channel); // a leave that is repeated later would undo the join
    try {
      const ack = await this.#session.command("channel:join", request);
      if (!isWanted()) return 0;
      if (subscription.catchUp(ack, position)) {
        subscription.goLive();
        if (request.presence === false && !subscription.isQuiet) this.#joinNow(subscription); // somebody has asked since
        return 0;
      }
    } catch (error) {
      return isWanted() ? this.#joinFailed(subscription, error) : 0;
    }
    if (!isWanted()) return 0;
    subscription.joining = false;
    this.#joinNow(subscription); // from the position that a replacement has brought meanwhile
    return 0;
  }

  /** @param {Subscription} subscription @param {any} error @returns {number} as `#joinOnce` */
  #joinFailed(subscription, error) {
    subscription.joining = false;
    if (error instanceof MaruError && error.retryable) {
      const wait = this.#rejoinLater(subscription, error.retryAfterMs);
      this.#emit("delayed", { channel: subscription.channel, key: null, error, waitMs: wait });
      return error.code === "rate_limited" ? wait : 0;
    }
    const { channel } = subscription;
    const lost = { channel, code: error.code ?? "internal", ...(error.reason && { reason: error.reason }) };
    if (!this.#forget(subscription, error)) this.#emit("removed", lost);
    return 0;
  }

  /** @param {Subscription} subscription @param {number} [atLeastMs] */
  #rejoinLater(subscription, atLeastMs = 0) {
    subscription.live = false;
    const wait = Math.max(atLeastMs, backoff(this.#options, subscription.attempts++));
    this.#session.current?.after(wait, () => void (subscription.live || this.#joinNow(subscription)));
    return wait;
  }

  /**
   * The answer to a channel that CONNECT has named; else the server can not go on with a live channel.
   * @param {Connection} connection @param {any} reply
   */
  #resumed(connection, reply) {
    const { channel } = reply;
    const subscription = this.#joined.get(channel);
    const named = connection.named.get(channel);
    connection.named.delete(channel);
    if (!subscription) return this.#leaves.again(channel, connection); // left after CONNECT was sent
    if (!named) return this.#restarted(connection, subscription, reply);
    // If it is not taken, `joinAll` joins the channel: for instance, it was left and joined again after CONNECT.
    if (named.subscription !== subscription || !subscription.catchUp(reply, named.position)) return;
    if (named.isQuiet && !subscription.isQuiet) return; // so does a channel of whose people somebody has asked since
    if (connection === this.#session.current) subscription.goLive();
    else connection.resumed.add(subscription);
  }

  /** @param {Connection} connection @param {Subscription} subscription @param {any} reply */
  #restarted(connection, subscription, reply) {
    if (connection === this.#session.current) {
      if (reply.recovered === false) subscription.restart(reply);
      else if (subscription.live) this.#joinNow(subscription); // nobody asked for it
    } else connection.resumed.delete(subscription); // it is joined when the connection is in use
  }

  /** @param {Connection} connection @param {{channel: string, code: string}} gone */
  #removed(connection, { channel, code }) {
    const subscription = this.#joined.get(channel);
    const named = connection.named.get(channel);
    connection.named.delete(channel);
    if (!subscription || (named && named.subscription !== subscription)) return; // left; a later join has its own answer
    if (TRANSIENT.has(code)) {
      connection.resumed.delete(subscription);
      if (connection === this.#session.current) this.#rejoinLater(subscription);
      return;
    }
    this.#forget(subscription, new MaruError(code, `no longer in ${channel}`));
    this.#emit("removed", { channel, code });
  }

  /**
   * @param {Subscription} subscription @param {any} error
   * @returns {boolean} as `Subscription.end`
   */
  #forget(subscription, error) {
    this.#joined.delete(subscription.channel);
    return subscription.end(error);
  }
}
