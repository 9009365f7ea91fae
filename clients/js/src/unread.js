/**
 * What a user has not read in one channel: derived, never counted twice.
 *
 * The server's count is exact up to the offset of the answer that brings it. From there on the client counts for itself:
 * one more for each message created after the mark, one less for each of those that is deleted. A count is taken only
 * with a mark that is not older than the client's own. What can not be derived (the mark moves into the middle of the
 * server's count, or one of those messages is deleted) is asked for: `read:mark` answers with the count.
 */

const ITEMS_LIMIT = 1_000; // unread messages that are known one by one; more are asked for

/** @typedef {{read_offset?: number, unread?: number, unread_mentions?: number, epoch: string, offset: number}} Counted */

export class UnreadCount {
  /** @type {{count: number, mentions: number, readOffset: number}|null} null: not known yet */ value = null;
  doubtful = false; // the server has to be asked

  #me;
  #epoch = "";
  #readOffset = 0;
  /** What the server has counted in (readOffset, head]. */
  #base = { head: 0, count: 0, mentions: 0 };
  /** @type {Map<string, {offset: number, mentions: boolean}>} created after `head` and after the mark */ #items = new Map();

  /** @param {() => string|undefined} me the user of the session */
  constructor(me) {
    this.#me = me;
  }

  get readOffset() {
    return this.#readOffset;
  }

  /**
   * Takes the count of a join, a resume or a mark.
   * @param {Counted} counted `offset`: up to which it is exact @returns {boolean} whether the value has changed
   */
  take({ read_offset: readOffset, unread, unread_mentions: mentions = 0, epoch, offset: head }) {
    if (readOffset === undefined || unread === undefined) return false;
    if (this.#epoch === epoch && readOffset < this.#readOffset) return false; // the mark is on its way
    if (this.#epoch !== epoch) this.#items.clear();
    this.#epoch = epoch;
    this.#readOffset = readOffset;
    this.#base = { head, count: unread, mentions };
    for (const [id, { offset }] of this.#items) if (offset <= head || offset <= readOffset) this.#items.delete(id);
    this.doubtful = false;
    return this.#settle();
  }

  /**
   * A live or replayed event of the log.
   * @param {import("./types.js").LogEvent} event @returns {boolean} whether the value has changed
   */
  apply(event) {
    if (this.value === null || event.epoch !== this.#epoch) return false;
    if (event.event === "message:deleted") return this.#deleted(event.message.id);
    if (event.event !== "message:created") return false;
    const { message, offset } = event;
    if (message.deleted) return false;
    if (message.author.id === this.#me()) return this.mark(offset); // sending moves the author's own mark
    if (offset <= this.#readOffset || offset <= this.#base.head) return false;
    const { mentions = [] } = message;
    this.#items.set(message.id, { offset, mentions: mentions.includes("*") || mentions.includes(this.#me() ?? "") });
    if (this.#items.size > ITEMS_LIMIT) this.#forgetOldest(offset);
    return this.#settle();
  }

  /** The user has read up to an offset, here or elsewhere. @param {number} offset @returns {boolean} */
  mark(offset) {
    if (offset <= this.#readOffset) return false;
    this.#readOffset = offset;
    if (this.value === null) {
      this.doubtful = true;
      return false;
    }
    for (const [id, item] of this.#items) if (item.offset <= offset) this.#items.delete(id);
    if (offset >= this.#base.head) this.#base = { head: this.#base.head, count: 0, mentions: 0 };
    else if (this.#base.count > 0) this.doubtful = true;
    return this.#settle();
  }

  /** @param {string} id */
  #deleted(id) {
    if (this.#items.delete(id)) return this.#settle();
    if (this.#base.count > 0) this.doubtful = true; // it may be one of those that the server has counted
    return false;
  }

  /** @param {number} head */
  #forgetOldest(head) {
    const items = [...this.#items.values()];
    const mentions = items.filter((item) => item.mentions).length;
    this.#base = { head, count: this.#base.count + items.length, mentions: this.#base.mentions + mentions };
    this.#items.clear();
  }

  #settle() {
    let { count, mentions } = this.#base;
    for (const item of this.#items.values()) {
      count += 1;
      if (item.mentions) mentions += 1;
    }
    const old = this.value;
    this.value = { count, mentions, readOffset: this.#readOffset };
    return old?.count !== count || old.mentions !== mentions || old.readOffset !== this.#readOffset;
  }
}
