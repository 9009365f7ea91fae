/**
 * One joined channel: its position, and the merge of its joins, resumes and live events.
 *
 * Every source brings the channel's events in order and without a hole, so the merge is one rule: drop each event that
 * is not newer than the position. That also holds for two connections at once, while a replacement takes over. The
 * answer to a join or resume goes on at the position that was named, so it is taken only if the subscription has got
 * that far: else events would be missing, and nobody would say so.
 *
 * @typedef {import("./position.js").Position} Position
 * @typedef {import("./types.js").LogEvent} LogEvent
 * @typedef {{epoch: string, offset: number, recovered?: boolean|null, reason?: string, events?: LogEvent[],
 *            read_offset?: number, unread?: number, unread_mentions?: number}} Reply
 *   the fields that the ack of channel:join shares with channel:resumed
 */

import { merge } from "./timeline.js";

const HELD_LIMIT = 1_000; // events kept during a join; the oldest are dropped, and the gap is healed by another join

export class Subscription {
  live = false; // every later event comes, from the position on
  joining = false;
  attempts = 0; // joins that failed, in a row
  wasLive = false; // the application knows that it was joined
  isQuiet = false; // nobody wants to be told of those who come and go

  #emit;
  #onGap;
  /** @type {Position|null} null: not joined yet */ #position;
  #history;
  /** @type {LogEvent[]} came while it was not live */ #held = [];
  /** @type {LogEvent[]} of the answer that makes it live */ #caughtUp = [];
  #turn = 0; // changes when the connection or the subscription is over: no event that was read before is given then
  #ended = false;
  /** @type {import("./people.js").People} */ people;
  /** @type {{resolve: (joined: any) => void, reject: (error: any) => void}[]} callers of `join` */ #waiters = [];

  /**
   * @param {string} channel @param {import("./types.js").JoinOptions} start
   * @param {(name: string, value: any) => void} emit tells the application
   * @param {(subscription: Subscription) => void} onGap called if a live event does not follow the position
   * @param {(subscription: Subscription) => import("./people.js").People} peopleOf
   */
  constructor(channel, { history, since }, emit, onGap, peopleOf) {
    this.channel = channel;
    this.#history = history;
    this.#position = since ? { epoch: since.epoch, offset: since.offset } : null;
    this.#emit = emit;
    this.#onGap = onGap;
    this.people = peopleOf(this);
  }

  get position() {
    return this.#position;
  }

  /** The payload of channel:join. */
  get request() {
    const { channel } = this;
    const start = this.#position ? { since: this.#position } : { history: this.#history };
    return { channel, ...start, ...this.#wishes };
  }

  /** The entry of CONNECT's `resume`; null: the channel has to be joined. */
  get resume() {
    return this.#position && { ...this.#position, ...this.#wishes };
  }

  get #wishes() {
    return this.isQuiet ? { presence: false } : {};
  }

  /** Goes on from a position that was kept, if it has not been joined yet. @param {Position} position */
  begin(position) {
    if (!this.#position && this.#history === undefined) this.#position = position;
  }

  /** Waits until the channel is live. @returns {Promise<import("./types.js").Joined>} rejects when it is ended */
  joined() {
    if (this.live) return Promise.resolve(this.#joined([]));
    return new Promise((resolve, reject) => this.#waiters.push({ resolve, reject }));
  }

  /** @param {LogEvent[]} events */
  #joined(events) {
    return { channel: this.channel, .../** @type {Position} */ (this.#position), messages: merge([], events) };
  }

  /**
   * Takes the events of a join or resume.
   * @param {Reply} reply @param {Position|null} since the position that was named; null: none
   * @returns {boolean} false if the answer can not be taken, or was not taken to its end: the channel has to be joined
   */
  catchUp(reply, since) {
    const { epoch, offset, recovered, reason, events = [] } = reply;
    const isWhole = recovered === true;
    if (!(isWhole ? this.#covers(since, epoch) : this.#isAt(since))) return false;
    const turn = this.#turn;
    if (!isWhole) this.#position = { epoch, offset: events.length > 0 ? events[0].offset - 1 : offset };
    if (!isWhole && since) this.#emit("reset", { channel: this.channel, reason, epoch, offset });
    for (const event of events) if (turn === this.#turn) this.#apply(event);
    if (turn !== this.#turn) return false; // ended by a listener, and goes on after the last event that was given
    // While two connections bring the channel, the position may be further than this reply.
    const { epoch: current, offset: seen } = /** @type {Position} */ (this.#position);
    if (current !== epoch || seen < offset) this.#position = { epoch, offset };
    this.#caughtUp = events;
    this.people.counted(reply);
    return true;
  }

  /** Whether all events up to `since` were given, in that log. @param {Position|null} since @param {string} epoch */
  #covers(since, epoch) {
    const at = this.#position;
    return since !== null && at !== null && at.epoch === epoch && since.epoch === epoch && at.offset >= since.offset;
  }

  /** Whether the position is still the one that was named. @param {Position|null} since */
  #isAt(since) {
    return this.#position?.epoch === since?.epoch && this.#position?.offset === since?.offset;
  }

  /** The server can not bring the next events of a live channel: it goes on from there. @param {Reply} reply */
  restart(reply) {
    if (!this.live) return; // the answer to the join tells it
    const { epoch, offset, reason } = reply;
    this.#position = { epoch, offset };
    this.people.counted(reply);
    this.#emit("reset", { channel: this.channel, reason, epoch, offset });
  }

  /** Every later event comes from here on: resolves the callers of `join`, and takes the events held. */
  goLive() {
    Object.assign(this, { live: true, joining: false, attempts: 0, wasLive: true });
    const events = this.#caughtUp.splice(0);
    for (const { resolve } of this.#waiters.splice(0)) resolve(this.#joined(events));
    const turn = this.#turn;
    for (const event of this.#held.splice(0)) if (turn === this.#turn) this.receive(event);
    if (turn === this.#turn && this.live) this.people.live();
  }

  /** A live event: applies it, holds it during a join, or reports a gap. @param {LogEvent} event */
  receive(event) {
    if (this.#ended) return;
    if (!this.live) return this.#hold(event);
    const { epoch, offset } = /** @type {Position} */ (this.#position);
    if (event.epoch === epoch && event.offset <= offset + 1) return this.#apply(event);
    this.#hold(event); // the answer to a join brings it too, unless a replacement takes over before
    this.#onGap(this);
  }

  /** @param {LogEvent} event */
  #hold(event) {
    if (this.#held.push(event) > HELD_LIMIT) this.#held.shift();
  }

  /** The connection is replaced: the channel has to be resumed or joined on the next one. */
  interrupt() {
    Object.assign(this, { live: false, joining: false });
    this.#turn += 1;
  }

  /** The connection is lost: events held are of no use, as the next connection brings them again. */
  drop() {
    this.interrupt();
    this.#held = [];
    this.people.dropped();
  }

  /**
   * The channel was left, or is closed: takes no more events.
   * @param {any} error for the callers of `join`
   * @returns {boolean} whether the callers of `join` are all that the application knows of it
   */
  end(error) {
    const isJoinRefused = !this.wasLive && this.#waiters.length > 0;
    this.drop();
    this.#ended = true;
    this.reject(error);
    this.people.ended(error);
    return isJoinRefused;
  }

  /** Rejects the callers of `join`; a later connection may still bring the channel. @param {any} error */
  reject(error) {
    for (const { reject } of this.#waiters.splice(0)) reject(error);
  }

  /** @param {LogEvent} event */
  #apply(event) {
    if (event.offset <= /** @type {Position} */ (this.#position).offset) return;
    this.#position = { epoch: event.epoch, offset: event.offset };
    const tellEffects = this.people.applied(event);
    this.#emit("event", event);
    this.#emit(event.event, event);
    tellEffects();
  }
}
