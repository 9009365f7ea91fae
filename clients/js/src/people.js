/** The people in one channel, as one joined channel keeps them: unread count, roster, typing, and the user's own mark. */

import { backoff } from "./options.js";
import { RosterState } from "./roster.js";
import { TypingUsers } from "./typing.js";
import { UnreadCount } from "./unread.js";

const MARK_EVERY_MS = 1_000; // the latest mark goes out; those between are of no use
const UNSURE_MS = 2_000; // an event that comes so soon after a count may be part of it
const ASKS_AGAIN = 3; // for a count that events came around

/**
 * @typedef {object} Place what it needs of the channel
 * @property {string} channel
 * @property {() => boolean} isLive
 * @property {() => import("./position.js").Position|null} position
 * @property {(event: string, data: object) => Promise<any>} command
 * @property {(ms: number, run: () => void) => void} after not beyond the end of the connection
 * @property {(name: string, value: any) => void} emit
 * @property {() => string|undefined} me the user of the session
 * @property {import("./options.js").Options} options
 */

export class People {
  #place;
  #unread;
  #typing;
  #roster = new RosterState();
  #epoch = "";
  #ended = false;

  #marked = 0; // what the server has, as far as is known
  #wanted = 0; // what it should have
  #marking = false; // a mark is under way
  #markDue = false; // its turn is awaited, on this connection
  #markedAt = -Infinity;
  #countedAt = -Infinity; // when a count without a place in the log was taken
  #asksLeft = 0;

  /** @type {{resolve: (roster: any) => void, reject: (error: any) => void}[]} */ #asking = [];
  #watched = false; // somebody wants to know the roster
  #reading = false;
  #readAgain = false;
  #failures = 0; // to read the roster, in a row

  /** @param {Place} place */
  constructor(place) {
    this.#place = place;
    this.#unread = new UnreadCount(place.me);
    this.#typing = new TypingUsers(place.options.timers, () => this.#tell("typing", { users: this.#typing.users }));
  }

  get unread() {
    return this.#unread.value;
  }

  get roster() {
    return this.#roster.value;
  }

  get typists() {
    return this.#typing.users;
  }

  /** A log event. Returns how to tell of its effects, after the event itself. @param {import("./types.js").LogEvent} event */
  applied(event) {
    const isNews = this.#unread.apply(event);
    const { message } = /** @type {any} */ (event);
    if (event.event === "message:created" && message.author) this.#typing.ended(message.author.id);
    if (this.#asksLeft > 0 && this.#now() - this.#countedAt < UNSURE_MS) {
      this.#asksLeft -= 1;
      this.#unread.doubtful = true;
    }
    return () => {
      if (isNews) this.#tellUnread();
      if (this.#unread.doubtful) this.#mark();
    };
  }

  /** A join or a resume was answered, and its events were applied. @param {import("./unread.js").Counted} reply */
  counted(reply) {
    if (reply.epoch !== this.#epoch) this.#marked = this.#wanted = 0;
    this.#epoch = reply.epoch;
    this.#marked = Math.max(this.#marked, reply.read_offset ?? 0);
    if (this.#unread.take(reply)) this.#tellUnread();
    const position = this.#place.position();
    if (position && position.offset > reply.offset && this.#unread.value) this.#unread.doubtful = true;
  }

  /** Every later event comes: says what is owed, and reads the roster anew, since events may have been missed. */
  live() {
    this.#failures = 0;
    this.#markDue = false;
    this.#mark();
    this.#readAgain = this.#reading; // that answer may come from a connection before
    if (this.#watched) this.#readRoster();
  }

  /** There is no connection. The roster stays as it was: whoever comes back soon has not left for the others either. */
  dropped() {
    this.#typing.forget();
  }

  /** The channel was left. @param {any} error */
  ended(error) {
    this.#ended = true;
    this.#typing.forget();
    for (const { reject } of this.#asking.splice(0)) reject(error);
  }

  /** An event that is not in the log. @param {string} name @param {any} value */
  heard(name, value) {
    const isMe = value.user === this.#place.me();
    if (name === "event:published") this.#place.emit(name, { event: name, ...value });
    else if (name === "typing:changed") isMe || this.#typing.heard(value);
    else if (name === "read:updated") this.#readElsewhere(value, isMe);
    else if (name === "presence:count") this.#rosterChanged(this.#roster.counted(value));
    else if (name === "presence:joined" || name === "presence:left") {
      if (name === "presence:left") this.#typing.ended(value.user);
      this.#rosterChanged(this.#roster.change(name === "presence:joined", value));
    }
  }

  /** @param {{user: string, offset: number}} receipt @param {boolean} isMe */
  #readElsewhere({ user, offset }, isMe) {
    if (!isMe) return this.#tell("read", { user, offset });
    this.#marked = Math.max(this.#marked, offset);
    if (this.#unread.mark(offset)) this.#tellUnread();
    if (this.#unread.doubtful) this.#mark();
  }

  /** The user has read up to an offset. @param {number} offset */
  markRead(offset) {
    if (this.#unread.mark(offset)) this.#tellUnread();
    this.#wanted = Math.max(this.#wanted, offset);
    this.#mark();
  }

  /** Sends the latest mark at its time, if the server does not have it, or if its count is in doubt. */
  #mark() {
    const isOwed = this.#wanted > this.#marked || this.#unread.doubtful;
    if (!isOwed || this.#marking || this.#markDue || this.#ended || !this.#place.isLive()) return;
    const wait = this.#markedAt + MARK_EVERY_MS - this.#now();
    if (wait <= 0) return void this.#markNow();
    this.#markDue = true;
    this.#place.after(wait, () => {
      this.#markDue = false;
      this.#mark();
    });
  }

  async #markNow() {
    this.#marking = true;
    this.#markedAt = this.#now();
    const offset = Math.max(this.#wanted, this.#unread.readOffset);
    const before = this.#place.position();
    let isRefused = false;
    try {
      const answer = await this.#place.command("read:mark", { channel: this.#place.channel, offset });
      if (this.#epoch === before?.epoch) this.#markAnswered(offset, answer);
    } catch (error) {
      isRefused = !(/** @type {any} */ (error).retryable);
    }
    this.#marking = false;
    if (isRefused) {
      this.#marked = this.#wanted;
      this.#unread.doubtful = false;
    }
    this.#mark();
  }

  /** @param {number} wanted @param {{offset: number, unread?: number, unread_mentions?: number, epoch?: string, head?: number}} answer */
  #markAnswered(wanted, { offset, unread, unread_mentions, head }) {
    this.#marked = Math.max(this.#marked, wanted, offset);
    if (!this.#unread.doubtful && this.#unread.value) return;
    const position = this.#place.position();
    if (!position) return;
    // The mark is never beyond the log: the server's answer is the mark, also if more was wanted.
    const isMine = offset >= Math.min(this.#unread.readOffset, position.offset);
    if (head === undefined && this.#now() - this.#countedAt > UNSURE_MS) this.#asksLeft = ASKS_AGAIN;
    this.#countedAt = this.#now();
    const counted = { unread, unread_mentions, epoch: position.epoch, offset: head ?? position.offset };
    const readOffset = isMine ? Math.max(offset, this.#unread.readOffset) : offset;
    if (this.#unread.take({ read_offset: readOffset, ...counted })) this.#tellUnread(); // else it is asked for again
    if (unread === undefined) this.#unread.doubtful = false;
  }

  /** The user of this client types, or has stopped. @param {boolean} typing */
  typing(typing) {
    if (!this.#place.isLive()) return;
    const event = this.#typing.says(typing);
    if (event) this.#place.command(event, { channel: this.#place.channel }).catch(() => {});
  }

  /** The user of this client has sent a message. */
  sent() {
    this.#typing.sent();
  }

  /** Resolves with the roster, and follows it from then on. @returns {Promise<import("./types.js").Roster>} */
  async watch() {
    this.#watched = true;
    if (this.#roster.value && this.#place.isLive() && !this.#reading) return this.#roster.value;
    const answer = new Promise((resolve, reject) => this.#asking.push({ resolve, reject }));
    this.#readRoster();
    return answer;
  }

  /** @param {boolean} isWhole */
  #rosterChanged(isWhole) {
    if (!this.#watched) return;
    if (!isWhole) return this.#readRoster();
    if (this.#roster.value && !this.#reading) this.#tell("presence", this.#roster.value);
  }

  async #readRoster() {
    if (this.#reading || this.#ended || !this.#place.isLive()) return;
    this.#reading = true;
    this.#roster.reading();
    let wait = -1;
    try {
      const isWhole = this.#roster.take(await this.#place.command("presence:read", { channel: this.#place.channel }));
      this.#failures = isWhole ? 0 : this.#failures + 1;
      if (!isWhole) wait = backoff(this.#place.options, this.#failures - 1);
      this.#tell("presence", this.#roster.value);
      for (const { resolve } of this.#asking.splice(0)) resolve(this.#roster.value);
    } catch (cause) {
      const error = /** @type {any} */ (cause);
      if (error.retryable) wait = Math.max(error.retryAfterMs, backoff(this.#place.options, this.#failures++));
      else for (const { reject } of this.#asking.splice(0)) reject(error);
    }
    this.#reading = false;
    if (this.#readAgain) {
      this.#readAgain = false;
      this.#readRoster();
    } else if (wait >= 0) this.#place.after(wait, () => void this.#readRoster());
  }

  #tellUnread() {
    this.#tell("unread", this.#unread.value);
  }

  /** @param {string} name @param {any} value */
  #tell(name, value) {
    if (!this.#ended) this.#place.emit(name, { channel: this.#place.channel, ...value });
  }

  #now() {
    return this.#place.options.timers.now();
  }
}
