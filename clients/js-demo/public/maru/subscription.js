/**
 * One joined channel: its position, and the merge of its joins, resumes and live events.
 *
 * Every source brings the channel's events in order and without a hole, so the merge is one rule: drop each event that
 * is not newer than the position. That also holds for two connections at once, while a replacement takes over.
 *
 * @typedef {{epoch: string, offset: number}} Position
 * @typedef {Position & {event: string, channel: string, at: string, [field: string]: any}} LogEvent
 * @typedef {{epoch: string, offset: number, recovered?: boolean|null, reason?: string, events?: LogEvent[]}} Reply
 *   the fields that the ack of channel:join shares with channel:resumed
 */

const HELD_LIMIT = 1_000; // events kept during a join; the oldest are dropped, and the gap is healed by another join

export class Subscription {
  live = false; // every later event comes, from the position on
  joining = false;
  attempts = 0; // joins that failed, in a row

  #emit;
  #onGap;
  /** @type {Position|null} null: not joined yet */ #position;
  #history;
  /** @type {LogEvent[]} came while it was not live */ #held = [];
  /** @type {{resolve: (joined: any) => void, reject: (error: any) => void}[]} callers of `join` */ #waiters = [];

  /**
   * @param {string} channel @param {{history?: number, since?: Position}} start
   * @param {(name: string, value: any) => void} emit tells the application
   * @param {(subscription: Subscription) => void} onGap called if a live event does not follow the position
   */
  constructor(channel, { history, since }, emit, onGap) {
    this.channel = channel;
    this.#history = history;
    this.#position = since ?? null;
    this.#emit = emit;
    this.#onGap = onGap;
  }

  get position() {
    return this.#position;
  }

  /** The payload of channel:join. */
  get request() {
    const { channel } = this;
    return this.#position ? { channel, since: this.#position } : { channel, history: this.#history };
  }

  /** Waits until the channel is live. @returns {Promise<{channel: string} & Position>} rejects when it is ended */
  joined() {
    if (this.live) return Promise.resolve(this.#joined());
    return new Promise((resolve, reject) => this.#waiters.push({ resolve, reject }));
  }

  #joined() {
    return { channel: this.channel, .../** @type {Position} */ (this.#position) };
  }

  /** Takes the events of a join or resume. @param {Reply} reply */
  catchUp({ epoch, offset, recovered, reason, events = [] }) {
    if (recovered !== true) this.#position = { epoch, offset: 0 };
    if (recovered === false) this.#emit("reset", { channel: this.channel, reason, epoch, offset });
    for (const event of events) this.#apply(event);
    // While two connections bring the channel, the position may be further than this reply.
    const { epoch: current, offset: seen } = /** @type {Position} */ (this.#position);
    if (current !== epoch || seen < offset) this.#position = { epoch, offset };
  }

  /** Every later event comes from here on: resolves the callers of `join`, and takes the events held. */
  goLive() {
    Object.assign(this, { live: true, joining: false, attempts: 0 });
    for (const { resolve } of this.#waiters.splice(0)) resolve(this.#joined());
    for (const event of this.#held.splice(0)) this.receive(event);
  }

  /** A live event: applies it, holds it during a join, or reports a gap. @param {LogEvent} event */
  receive(event) {
    if (!this.live) {
      if (this.#held.push(event) > HELD_LIMIT) this.#held.shift();
      return;
    }
    const { epoch, offset } = /** @type {Position} */ (this.#position);
    if (event.epoch === epoch && event.offset <= offset + 1) this.#apply(event);
    else this.#onGap(this); // or another log; the answer to the join brings this event too
  }

  /** The connection is replaced: the channel has to be resumed or joined on the next one. */
  interrupt() {
    Object.assign(this, { live: false, joining: false });
  }

  /** The connection is lost: events held are of no use, as the next connection brings them again. */
  drop() {
    this.interrupt();
    this.#held = [];
  }

  /** The channel was left, or is closed: takes no more events. @param {any} error for the callers of `join` */
  end(error) {
    this.live = false;
    this.reject(error);
  }

  /** Rejects the callers of `join`; a later connection may still bring the channel. @param {any} error */
  reject(error) {
    for (const { reject } of this.#waiters.splice(0)) reject(error);
  }

  /** @param {LogEvent} event */
  #apply(event) {
    if (event.offset <= /** @type {Position} */ (this.#position).offset) return;
    this.#position = { epoch: event.epoch, offset: event.offset };
    this.#emit("event", event);
  }
}
