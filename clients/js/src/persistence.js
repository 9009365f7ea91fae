/**
 * The outbox and the positions in a store, so that a reload loses no unsent message, and doubles none: a send keeps its
 * key. Each client keeps its own sends, and takes those of clients that are gone.
 *
 * The store is no condition of sending: if it fails, everything goes on without it.
 */

import { isPosition } from "./position.js";
import { RENEW_MS, Tab } from "./tabs.js";

const POSITIONS_EVERY_MS = 1_000;
const SOON_MS = 1_000; // a page that was reloaded may still be about to go
const BEGIN_MS = 3_000;
const OUTBOX = "outbox:";
const POSITION = "position:";
const USER = "user";

/**
 * @typedef {{payload: import("./types.js").Unsent, since: number, number: number, user: string|null}} Kept one send
 * @typedef {{restored: (kept: Kept[]) => void, began: (positions: Map<string, import("./position.js").Position>) => void}} Hooks
 */

export class Persistence {
  #store;
  #options;
  #hooks;
  #tab;
  /** @type {string|null} of the session */ #user = null;
  /** @type {Map<string, Kept>} own sends, by key */ #kept = new Map();
  /** @type {Map<string, string>} own sends that stand where another client has kept them, by key */ #elsewhere = new Map();
  /** @type {Promise<any>|null} the work of a store that answers with promises, one after another */ #busy = null;
  /** @type {Map<string, string>} positions as they stand in the store */ #written = new Map();
  /** @type {Map<string, import("./position.js").Position|null>} positions to be written; null: removed */ #news = new Map();
  /** @type {any} */ #timer = null;
  #number = 0;
  #isTaking = false;

  /** @param {import("./storage.js").Store} store @param {import("./options.js").Options} options @param {Hooks} hooks */
  constructor(store, options, hooks) {
    this.#store = store;
    this.#options = options;
    this.#hooks = hooks;
    this.#tab = new Tab(store, options.timers);
  }

  /** Reads the positions that were kept. Returns a promise if the store answers with promises. */
  begin() {
    globalThis.addEventListener?.("pagehide", this.#pause);
    this.#aside(() => this.#tab.renew());
    const begun = this.#do(() => this.#then(this.#store.keys(), (keys) => this.#beginFrom(keys)));
    return begun && this.#soon(begun);
  }

  /** Waits for the store, but not for long: one that never answers must not keep the client from its server. @param {Promise<void>} work */
  #soon(work) {
    const { timers } = this.#options;
    return new Promise((/** @type {(value?: any) => void} */ resolve) => {
      const timer = timers.set(resolve, BEGIN_MS);
      work.then(() => resolve(timers.clear(timer)));
    });
  }

  /** @param {string[]} keys */
  #beginFrom(keys) {
    const channels = keys.filter((key) => key.startsWith(POSITION)).map((key) => key.slice(POSITION.length));
    const texts = channels.map((channel) => this.#store.get(POSITION + channel));
    const isLater = texts.some(isPromise);
    return this.#then(isLater ? Promise.all(texts) : texts, (/** @type {any[]} */ all) => {
      all.forEach((text, index) => text && this.#written.set(channels[index], text));
      /** @type {Map<string, import("./position.js").Position>} */ const known = new Map();
      for (const [channel, text] of this.#written) {
        const position = parsed(text);
        if (isPosition(position)) known.set(channel, position);
      }
      this.#hooks.began(known);
    });
  }

  /** The position that was kept of a channel. @param {string} channel */
  position(channel) {
    const position = parsed(this.#written.get(channel) ?? "null");
    return isPosition(position) ? /** @type {import("./position.js").Position} */ (position) : undefined;
  }

  /**
   * A session has begun: takes the sends of clients that are gone, now and from time to time.
   * @param {string} user @param {(ms: number, run: () => void) => void} after
   * @param {() => void} restored called when it has looked for the first time, or has looked for long
   */
  ready(user, after, restored) {
    this.#user = user;
    for (const [key, kept] of this.#kept) if (kept.user === null) this.save(key, { ...kept, user });
    const sweep = async (/** @type {number} */ next) => {
      this.#aside(() => this.#tab.renew());
      await this.#takeOver().catch(this.#failed);
      restored();
      after(next, () => void sweep(RENEW_MS));
    };
    after(SOON_MS, restored);
    void sweep(SOON_MS);
  }

  async #takeOver() {
    if (this.#isTaking) return;
    this.#isTaking = true;
    try {
      await this.#takeAll();
    } finally {
      this.#isTaking = false;
    }
  }

  async #takeAll() {
    const owner = await this.#store.get(USER);
    if (owner !== this.#user) this.#aside(async () => this.#store.set(USER, this.#user ?? ""));
    /** @type {Map<string, string[]>} */ const others = new Map();
    for (const key of await this.#store.keys()) {
      const [, id] = key.split(":");
      if (key.startsWith(OUTBOX) && id !== this.#tab.id) others.set(id, [...(others.get(id) ?? []), key]);
    }
    for (const [id, keys] of others) {
      await this.#tab.ifGone(id, () => this.#takeOverFrom(keys, owner === null || owner === this.#user));
    }
  }

  /** @param {string[]} keys @param {boolean} isOwn whether the store was this user's before */
  async #takeOverFrom(keys, isOwn) {
    /** @type {Kept[]} */ const found = [];
    for (const key of keys) {
      /** @type {Kept|null} */ const kept = parsed((await this.#store.get(key)) ?? "null");
      if (!kept?.payload?.key) await this.#store.remove(key);
      else if (kept.user === this.#user || (kept.user === null && isOwn)) {
        await this.#move(key, { ...kept, user: this.#user });
        this.#kept.set(kept.payload.key, kept);
        found.push(kept);
      }
    }
    found.sort((one, other) => one.since - other.since || one.number - other.number);
    if (found.length > 0) this.#hooks.restored(found);
  }

  /**
   * Makes a send of another client its own. In a full store it stays where it was, and is sent all the same.
   * @param {string} from @param {Kept} kept
   */
  async #move(from, kept) {
    const { key } = kept.payload;
    try {
      await this.#store.set(this.#keyOf(key), JSON.stringify(kept));
      await this.#store.remove(from);
    } catch (error) {
      this.#failed(error);
      this.#elsewhere.set(key, from);
    }
  }

  /** A message waits to be sent. @param {import("./types.js").Unsent} payload @param {number} since */
  queued(payload, since) {
    this.save(payload.key, { payload, since, number: ++this.#number, user: this.#user });
  }

  /** @param {string} key @param {Kept} kept */
  save(key, kept) {
    this.#kept.set(key, kept);
    this.#do(() => this.#store.set(this.#keyOf(key), JSON.stringify(kept)));
  }

  /** A message was sent, or has failed. @param {string} key */
  settled(key) {
    if (!this.#kept.delete(key)) return;
    const elsewhere = this.#elsewhere.get(key);
    if (this.#elsewhere.delete(key)) this.#do(() => this.#store.remove(/** @type {string} */ (elsewhere)));
    this.#do(() => this.#store.remove(this.#keyOf(key)));
  }

  /** The application has got everything up to a position; null: it has left. @param {string} channel @param {import("./position.js").Position|null} position */
  moved(channel, position) {
    this.#news.set(channel, position);
    this.#timer ??= this.#options.timers.set(() => this.#writePositions(), POSITIONS_EVERY_MS);
  }

  #writePositions() {
    this.#options.timers.clear(this.#timer);
    this.#timer = null;
    for (const [channel, position] of this.#news) {
      const text = JSON.stringify(position);
      if (position) this.#written.set(channel, text);
      else this.#written.delete(channel);
      this.#do(() => (position ? this.#store.set(POSITION + channel, text) : this.#store.remove(POSITION + channel)));
    }
    this.#news.clear();
  }

  /** The session is over. */
  end() {
    globalThis.removeEventListener?.("pagehide", this.#pause);
    this.#pause();
  }

  #pause = () => {
    this.#writePositions();
    this.#aside(() => this.#tab.leave()); // a page that comes back is renewed soon
  };

  /** @param {string} key */
  #keyOf(key) {
    return `${OUTBOX}${this.#tab.id}:${key}`;
  }

  /** @param {any} value @param {(value: any) => any} next at once, if the value is there */
  #then(value, next) {
    return isPromise(value) ? Promise.resolve(value).then(next) : next(value);
  }

  /** Runs what no other work has to wait for. @param {() => Promise<void>} work */
  #aside(work) {
    work().catch(this.#failed);
  }

  #failed = (/** @type {unknown} */ error) => this.#options.log({ event: "storage.failed", error });

  /** Runs one piece of work: at once, if the store answers at once and nothing is under way. @param {() => any} work */
  #do(work) {
    if (!this.#busy) {
      try {
        const result = work();
        if (!isPromise(result)) return;
        this.#busy = Promise.resolve(result);
      } catch (error) {
        return this.#failed(error);
      }
    } else this.#busy = this.#busy.then(work);
    const mine = (this.#busy = this.#busy.catch(this.#failed));
    mine.then(() => this.#busy === mine && (this.#busy = null));
    return mine;
  }
}

/** Whether a value is a promise, also of another make. @param {any} value */
function isPromise(value) {
  return typeof value?.then === "function";
}

/** @param {string} text */
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
