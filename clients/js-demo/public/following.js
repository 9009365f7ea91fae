/** The channels that the user follows: read from the server at each connection, kept up by the rooms in between. */

import { byId } from "./dom.js";
import { Inbox, lastOf } from "./inbox.js";
import { renderInbox } from "./inbox_view.js";
import { reasonOf } from "./reasons.js";

const READ = 100; // channels of the inbox that are joined, too
const READ_MORE = 500; // channels of a further page: as many as the server gives
const AGAIN_MS = 5_000; // after a server that could not answer

/**
 * @typedef {import("./rooms.js").Room} Room
 * @typedef {{changed(): void, told(news: string): void, found(channel: string): void,
 *            open(channel: string): void}} Hooks
 *   `found`: the user follows this channel, perhaps since a visit on another device
 */

export class Following {
  #me;
  #maru;
  #hooks;
  #inbox = new Inbox();
  /** @type {Set<string>} channels whose star was changed, and the server has not answered */ #asked = new Set();
  #isStale = false; // the server's answer was older than a star
  #isReading = false; // a further page
  #timer = 0; // reads again after a refusal

  /** @param {string} me @param {any} maru @param {Hooks} hooks */
  constructor(me, maru, hooks) {
    this.#me = me;
    this.#maru = maru;
    this.#hooks = hooks;
    maru.on("ready", () => this.read());
  }

  /** @param {string} channel */
  has(channel) {
    return this.#inbox.follows(channel);
  }

  get totals() {
    return this.#inbox.totals;
  }

  async read() {
    clearTimeout(this.#timer);
    try {
      const { channels, next } = await this.#maru.inbox({ limit: READ });
      this.#isStale = this.#asked.size > 0;
      if (this.#isStale) return;
      this.#inbox.take(channels, next);
      for (const { channel } of channels) this.#hooks.found(channel);
      this.#hooks.changed();
    } catch (cause) {
      const error = /** @type {any} */ (cause);
      if (!error.retryable || error.code === "offline") return; // the next connection reads it
      clearTimeout(this.#timer);
      this.#timer = window.setTimeout(() => this.read(), error.retryAfterMs || AGAIN_MS);
    }
  }

  /** Reads a further page; its channels are joined when they are opened. */
  async #more() {
    const { next } = this.#inbox;
    if (next === null || this.#isReading) return;
    this.#isReading = true;
    this.#hooks.changed();
    try {
      const page = await this.#maru.inbox({ limit: READ_MORE, before: next });
      if (this.#inbox.next === next) this.#inbox.append(page.channels, page.next);
    } catch (cause) {
      const error = /** @type {any} */ (cause);
      if (error.code === "rate_limited") {
        await new Promise((resolve) => setTimeout(resolve, error.retryAfterMs));
        this.#isReading = false;
        return this.#more();
      }
      this.#hooks.told(`There is more in the inbox, which could not be read: ${reasonOf(error)}.`);
    }
    this.#isReading = false;
    this.#hooks.changed();
  }

  /** The star of a channel was touched. @param {string} name @param {Room} [room] if it is joined */
  async toggle(name, room) {
    const on = !this.has(name);
    const last = room?.timeline.items.at(-1);
    const message = last?.at && { ...last, created_at: new Date(last.at).toISOString() };
    if (on) this.#inbox.follow(name, message ? lastOf(message) : null);
    else this.#inbox.unfollow(name);
    this.#asked.add(name);
    this.#hooks.changed();
    try {
      await (on ? this.#maru.follow(name) : this.#maru.unfollow(name));
    } catch (error) {
      if (on) this.#inbox.unfollow(name);
      else this.#inbox.follow(name, null);
      this.#hooks.told(`${on ? "Not followed" : "Still followed"}: ${reasonOf(error)}.`);
    }
    this.#asked.delete(name);
    if (this.#isStale && this.#asked.size === 0) this.read();
    this.#hooks.changed();
  }

  /** @param {any} event a log event */
  heard(event) {
    this.#inbox.heard(event);
  }

  /** @param {Room[]} rooms whose counts are newer than the inbox @param {boolean} shown */
  render(rooms, shown) {
    for (const { name, reading, joined } of rooms) if (joined) this.#inbox.count(name, reading);
    if (!shown) return;
    const { entries, loaded, next } = this.#inbox;
    renderInbox({ entries, loaded, hasMore: next !== null, isReading: this.#isReading }, this.#me, {
      open: (channel) => this.#hooks.open(channel),
      unfollow: (channel) => {
        this.toggle(channel);
        byId("open-inbox").focus();
      },
      more: () => this.#more(),
    });
  }
}
