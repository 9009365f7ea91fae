/**
 * What of a channel is read: the counts for its badges, the place of the line above the new messages, and the marks
 * that the server is told. It is told at most once a second, of the furthest place. Pure but for its timer.
 */

const MARK_MS = 1_000; // between two marks of a channel

/**
 * @typedef {{offset: number, count: number, mentions: number}} Unread `offset`: of the last message that is read; 0:
 *   nothing ever was
 * @typedef {{now(): number, set(act: () => void, ms: number): unknown}} Timers
 */

/** @type {Timers} */
const TIMERS = { now: () => performance.now(), set: (act, ms) => setTimeout(act, ms) };

export class Reading {
  unread = 0;
  mentions = 0;
  unreadAfter = Infinity; // offset of the message above the line; Infinity: there is no line

  #mark;
  #timers;
  #seenTo = 0; // the furthest offset that was on the page
  #markedTo = 0; // the furthest offset that the server has
  #lastAt = -Infinity;
  #isDue = false;

  /** @param {(offset: number) => Promise<any>} mark tells the server @param {Timers} [timers] */
  constructor(mark, timers = TIMERS) {
    this.#mark = mark;
    this.#timers = timers;
  }

  /** Takes the counts of the server, or of the core. @param {Unread} unread @param {boolean} isReading at this moment */
  count({ offset, count, mentions }, isReading) {
    const isNew = this.unread === 0 && count > 0;
    if (isReading) return; // `seen` follows
    if (isNew) this.unreadAfter = offset > 0 ? Math.max(offset, this.#seenTo) : Infinity;
    Object.assign(this, { unread: count, mentions });
  }

  /** Everything up to an offset is on the page, and somebody looks at it. @param {number} offset */
  seen(offset) {
    this.unread = this.mentions = 0;
    this.#seenTo = Math.max(this.#seenTo, offset);
    this.#markSoon();
  }

  /** The line is of no use any more: the channel was left, or written in. */
  settle() {
    this.unreadAfter = Infinity;
  }

  /** The log is another: offsets begin anew. */
  reset() {
    this.#seenTo = this.#markedTo = 0;
    this.settle();
  }

  #markSoon() {
    if (this.#isDue || this.#seenTo <= this.#markedTo) return;
    this.#isDue = true;
    const wait = Math.max(0, this.#lastAt + MARK_MS - this.#timers.now());
    this.#timers.set(() => this.#markNow(), wait);
  }

  async #markNow() {
    this.#isDue = false;
    this.#lastAt = this.#timers.now();
    const offset = this.#seenTo;
    try {
      await this.#mark(offset);
      this.#markedTo = Math.max(this.#markedTo, offset);
    } catch {
      return; // without a connection: the next look at the page marks it
    }
    this.#markSoon();
  }
}
