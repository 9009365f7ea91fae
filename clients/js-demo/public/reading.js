/** What of a channel is read: the counts for its badges, and the place of the line above the new messages. Pure. */

/**
 * @typedef {{count: number, mentions: number, readOffset: number}} Unread `readOffset`: of the last message that is
 *   read; 0: nothing ever was
 */

export class Reading {
  unread = 0;
  mentions = 0;
  unreadAfter = Infinity; // offset of the message above the line; Infinity: there is no line
  fresh = 0; // messages below the line, when they were counted
  wasFound = false; // the line was on the screen

  #mark;
  #seenTo = 0; // the furthest offset that was on the page

  /** @param {(offset: number) => void} mark tells the server */
  constructor(mark) {
    this.#mark = mark;
  }

  /** Takes the counts of the client. @param {Unread} unread @param {boolean} isRead whether somebody sees the end */
  count({ count, mentions, readOffset }, isRead) {
    if (isRead) return; // `seen` follows
    const isFirst = this.unread === 0 && count > 0;
    if (isFirst) this.unreadAfter = readOffset > 0 ? Math.max(readOffset, this.#seenTo) : Infinity;
    if (isFirst) this.wasFound = false;
    if (count > 0) this.fresh = count;
    Object.assign(this, { unread: count, mentions });
  }

  /** Everything up to an offset is on the page, and somebody sees it. @param {number} offset */
  seen(offset) {
    this.unread = this.mentions = 0;
    if (offset <= this.#seenTo) return;
    this.#seenTo = offset;
    this.#mark(offset);
  }

  /** The line is of no use any more: the channel was left, or written in. */
  settle() {
    this.unreadAfter = Infinity;
  }

  /** The log is another: offsets begin anew. */
  reset() {
    this.#seenTo = 0;
    this.settle();
  }
}
