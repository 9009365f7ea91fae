/**
 * The messages of one channel, as pure state: a window of the log ordered by offset, and the unsent messages
 * behind it. Live events, pages of history and acks may come in any order: the state at the end is the same.
 *
 * The window is bounded and has no holes: `hasOlder` and `hasNewer` say on which side the log goes on. While
 * `hasNewer` holds, live messages are only counted: they do not follow the last message of the window.
 *
 * @typedef {{uid: string, id: string|null, key: string|null, author: {id: string, name: string|null}|null,
 *            text: string, at: number|null, edited: boolean, deleted: boolean, offset: number, asOf: number,
 *            mentions: string[], reactions: import("./reactions.js").Reactions,
 *            state: "sent"|"pending"|"failed", reason: string}} Item
 */

export const WINDOW = 500; // messages kept, and so rendered, per channel
const BEHIND = "Waits for the message before it"; // a send behind one that is tried again later
const EARLY_LIMIT = 500; // changes to messages that are not loaded, kept for the page that brings the messages

export class Timeline {
  /** @type {Item[]} messages of the log, by offset */ items = [];
  /** @type {Item[]} messages without an ack, in the order of sending */ unsent = [];
  epoch = "";
  head = 0; // the newest offset heard of
  loaded = false; // the newest page has been read
  hasOlder = true;
  hasNewer = false;
  generation = 0; // changes when pages asked for earlier no longer fit
  from = 0; // an empty window begins behind this offset

  /** @type {Map<string, Item>} */ #byId = new Map();
  /** @type {Map<string, {change?: any, reacted?: any}>} the last events of each message */ #early = new Map();

  /** @param {string} me the user whose own sends are matched by key */
  constructor(me) {
    this.me = me;
  }

  /** @returns {Item[]} everything, in the order of the page */
  get all() {
    return this.hasNewer ? this.items : [...this.items, ...this.unsent];
  }

  /** Applies one log event. @param {any} event @returns {Item|null} the message, if it is new */
  apply(event) {
    this.epoch = event.epoch;
    this.head = Math.max(this.head, event.offset);
    if (event.event === "message:created") return this.#created(event.message, event.offset);
    if (event.event === "message:edited" || event.event === "message:deleted") this.#change(event);
    if (event.event === "reaction:changed") this.#reacted(event);
    return null;
  }

  /**
   * Applies a page of `history:read`. "latest" replaces a window that has come loose from the end of the log.
   * @param {{messages: any[], epoch: string, offset: number, more: boolean}} reply
   * @param {"latest"|"before"|"after"} direction
   */
  page({ messages, epoch, offset, more }, direction) {
    if (direction === "latest") {
      if (this.hasNewer || (this.epoch && this.epoch !== epoch)) this.reset();
      const first = messages.length > 0 ? messages[0].offset : Infinity;
      for (const item of this.items.filter((known) => known.offset < first && more)) this.#remove(item);
      this.loaded = true;
      this.hasNewer = false;
    }
    this.epoch = epoch;
    this.head = Math.max(this.head, offset);
    for (const message of messages) this.#upsert(message, offset);
    if (direction === "after") Object.assign(this, { loaded: true, hasNewer: more || this.head > offset });
    else this.hasOlder = more;
  }

  /** Forgets the messages of the log, for instance because events were missed; unsent messages stay. */
  reset() {
    this.items = [];
    this.#byId.clear();
    this.#early.clear();
    Object.assign(this, { loaded: false, hasOlder: true, hasNewer: false, epoch: "", head: 0 });
    this.generation += 1;
  }

  /** Moves the window to an older place: the next page "after" begins behind this offset. @param {number} from */
  moveTo(from) {
    this.reset();
    Object.assign(this, { from, hasNewer: true });
  }

  /** Holds the window at `WINDOW` by dropping from one end. @param {"older"|"newer"} end */
  trim(end) {
    const excess = this.items.length - WINDOW;
    if (excess <= 0) return;
    const dropped = end === "older" ? this.items.slice(0, excess) : this.items.slice(-excess);
    for (const item of dropped) this.#remove(item);
    if (end === "older") this.hasOlder = true;
    else this.hasNewer = true;
    this.generation += 1;
  }

  /**
   * A send begins (or begins again).
   * @param {string} key @param {string} text @param {number} at @param {string[]} [mentions]
   */
  pend(key, text, at, mentions = []) {
    const again = this.unsent.find((item) => item.key === key);
    if (again) return void Object.assign(again, { state: "pending", reason: "" });
    const author = { id: this.me, name: this.me };
    const reason = this.unsent.some((item) => item.state === "pending" && item.reason) ? BEHIND : "";
    const fact = { edited: false, deleted: false, offset: 0, asOf: 0, mentions, reactions: {}, reason };
    this.unsent.push({ uid: `k:${key}`, id: null, key, author, text, at, state: "pending", ...fact });
  }

  /** The server's ack of a send. @param {string} key @param {{message: any, offset: number}} ack */
  confirm(key, { message, offset }) {
    this.head = Math.max(this.head, offset);
    this.#created(message, offset, this.#takeUnsent(key));
  }

  /** A send is tried again later, and the sends behind it wait. @param {string} key @param {string} reason */
  delay(key, reason) {
    const place = this.unsent.findIndex((item) => item.key === key);
    if (place < 0) return;
    const behind = this.unsent.slice(place + 1).filter(({ state }) => state === "pending");
    this.unsent[place].reason = reason;
    for (const item of behind) item.reason = BEHIND;
  }

  /** @param {string} key @param {string} reason */
  fail(key, reason) {
    for (const item of this.unsent) if (item.key === key) Object.assign(item, { state: "failed", reason });
  }

  /** @param {string} key */
  discard(key) {
    this.unsent = this.unsent.filter((item) => item.key !== key);
  }

  /** @param {any} message @param {number} asOf @param {string} [uid] */
  #created(message, asOf, uid = this.#rowOf(message)) {
    const isNew = !this.#byId.has(message.id);
    const outside = this.hasOlder && this.items.length > 0 && message.offset < this.items[0].offset;
    if (this.hasNewer || outside) return isNew && !outside ? toItem(message, asOf, uid) : null;
    const item = this.#upsert(message, asOf, uid);
    return isNew ? item : null;
  }

  /** @param {any} event */
  #change({ message, offset }) {
    const item = this.#byId.get(message.id);
    if (item) return take(item, message, offset);
    if (this.#early.get(message.id)?.change?.message.deleted) return;
    this.#keep(message.id, { change: { offset, message } });
  }

  /** @param {any} event */
  #reacted({ id, offset, reactions }) {
    const item = this.#byId.get(id);
    if (item) react(item, reactions, offset);
    else this.#keep(id, { reacted: { offset, reactions } });
  }

  /** @param {string} id @param {{change?: any, reacted?: any}} event of a message that is not loaded */
  #keep(id, event) {
    this.#early.set(id, { ...this.#early.get(id), ...event });
    if (this.#early.size > EARLY_LIMIT) this.#early.delete(this.#early.keys().next().value ?? "");
  }

  /** Takes the message's state at log offset `asOf`; an older state never replaces a newer state. */
  #upsert(/** @type {any} */ message, /** @type {number} */ asOf, uid = this.#rowOf(message)) {
    const known = this.#byId.get(message.id);
    if (known) {
      take(known, message, asOf);
      return known;
    }
    const item = toItem(message, asOf, uid);
    const { change, reacted } = this.#early.get(message.id) ?? {};
    if (change) take(item, change.message, change.offset);
    if (reacted) react(item, reacted.reactions, reacted.offset);
    this.#early.delete(message.id);
    this.#byId.set(message.id, item);
    let place = this.items.length;
    while (place > 0 && this.items[place - 1].offset > item.offset) place -= 1;
    this.items.splice(place, 0, item);
    return item;
  }

  /** The row of a message: if it is one of the unsent messages, the row of that. @param {any} message */
  #rowOf({ key, author }) {
    return key && author?.id === this.me ? this.#takeUnsent(key) : undefined;
  }

  /** @param {string} key */
  #takeUnsent(key) {
    const mine = this.unsent.find((item) => item.key === key);
    this.discard(key);
    return mine?.uid;
  }

  /** @param {Item} item */
  #remove(item) {
    this.items.splice(this.items.indexOf(item), 1);
    if (item.id) this.#byId.delete(item.id);
  }
}

/** @param {any} message @param {number} asOf @returns {Item} */
function toItem(message, asOf, uid = `m:${message.id}`) {
  const { id, key = null, author = null, offset } = message;
  const mentions = message.mentions ?? [];
  const at = message.created_at ? Date.parse(message.created_at) : null;
  return { uid, id, key, author, at, offset, asOf, mentions, state: "sent", reason: "", ...changeOf(message) };
}

/**
 * Takes a state of a message that is newer than the known state, or the last state of all: the events and pages of a
 * deleted message have no text any more, whatever their offset is.
 * @param {Item} item @param {any} message @param {number} asOf
 */
function take(item, message, asOf) {
  if (item.deleted || (asOf <= item.asOf && !message.deleted)) return;
  Object.assign(item, changeOf(message), { asOf: Math.max(asOf, item.asOf) });
}

/**
 * Takes the reactions to a message, unless a newer state of it is known.
 * @param {Item} item @param {any} reactions @param {number} asOf
 */
function react(item, reactions, asOf) {
  if (!item.deleted && asOf > item.asOf) Object.assign(item, { reactions, asOf });
}

/** The fields of a message that can change. @param {any} message */
function changeOf(message) {
  if (message.deleted) return { text: "", reactions: {}, edited: false, deleted: true };
  return { text: message.text, reactions: message.reactions ?? {}, edited: Boolean(message.edited_at), deleted: false };
}
