/** The channels that the user follows: read from the server at each connection, kept up by the rooms in between. */

import { byId } from "./dom.js";
import { Inbox, lastOf } from "./inbox.js";
import { renderInbox } from "./inbox_view.js";
import { reasonOf } from "./reasons.js";

const READ = 100; // channels of the inbox

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
    try {
      const { channels } = await this.#maru.inbox({ limit: READ });
      if (this.#asked.size > 0) return; // older than the star
      this.#inbox.take(channels);
      for (const { channel } of channels) this.#hooks.found(channel);
      this.#hooks.changed();
    } catch {
      // Without a connection, or too often: the next connection reads it.
    }
  }

  /** The star of a channel was touched. @param {Room} room */
  async toggle({ name, channel, timeline }) {
    const on = !this.has(name);
    const last = timeline.items.at(-1);
    const message = last?.at && { ...last, created_at: new Date(last.at).toISOString() };
    if (on) this.#inbox.follow(name, message ? lastOf(message) : null);
    else this.#inbox.unfollow(name);
    this.#asked.add(name);
    this.#hooks.changed();
    try {
      await (on ? channel.follow() : channel.unfollow());
    } catch (error) {
      if (on) this.#inbox.unfollow(name);
      else this.#inbox.follow(name, null);
      this.#hooks.told(`${on ? "Not followed" : "Still followed"}: ${reasonOf(error)}.`);
    }
    this.#asked.delete(name);
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
    const { entries, loaded } = this.#inbox;
    const byName = new Map(rooms.map((room) => [room.name, room]));
    renderInbox(entries, loaded, this.#me, {
      open: (channel) => this.#hooks.open(channel),
      unfollow: (channel) => {
        const room = byName.get(channel);
        if (room) this.toggle(room);
        byId("open-inbox").focus();
      },
    });
  }
}
