/** What the user does with their own messages: sends, repeats, edits and deletes them. */

import { newKey } from "../../js/src/index.js";
import { reasonOf } from "./reasons.js";

/** @typedef {import("./timeline.js").Item} Item */

export class Writing {
  #maru;
  #rooms;
  #hooks;
  /** @type {Set<string>} keys of sends that were made before a reload, and have no answer yet */ #restored = new Set();

  /**
   * @param {import("../../js/src/index.js").Maru} maru @param {import("./rooms.js").Rooms} rooms
   * @param {{changed(): void, told(news: string): void}} hooks
   */
  constructor(maru, rooms, hooks) {
    this.#maru = maru;
    this.#rooms = rooms;
    this.#hooks = hooks;
    maru.on("restored", ({ sends }) => this.#restore(sends));
    maru.on("settled", (outcome) => this.#settled(outcome));
  }

  /** A reload has lost no message that waited. @param {import("../../js/src/types.js").Unsent[]} sends */
  #restore(sends) {
    for (const { channel, key, text, mentions } of sends) {
      this.#restored.add(key);
      this.#rooms.get(channel)?.timeline.pend(key, text, Date.now(), mentions);
    }
    this.#hooks.changed();
  }

  /** @param {import("../../js/src/types.js").ChannelEvents["settled"]} outcome */
  #settled({ channel, key, error, sent }) {
    if (!this.#restored.delete(key)) return; // `send` tells it
    const timeline = this.#rooms.get(channel)?.timeline;
    if (sent) timeline?.confirm(key, sent);
    else timeline?.fail(key, reasonOf(error));
    this.#hooks.changed();
  }

  /** @param {string} text @param {string[]} mentions @param {string} [key] of an earlier try */
  async send(text, mentions, key = newKey()) {
    const { name, timeline } = this.#rooms.active;
    timeline.pend(key, text, Date.now(), mentions);
    this.#hooks.changed();
    try {
      timeline.confirm(key, await this.#maru.send(name, text, { key, mentions }));
    } catch (error) {
      timeline.fail(key, reasonOf(error));
    }
    this.#hooks.changed();
  }

  /** A message that was not sent. @param {Item} item */
  retry({ text, mentions, key }) {
    return this.send(text, mentions, key ?? newKey());
  }

  /** A message that was not sent. @param {Item} item */
  discard({ key }) {
    if (key) this.#rooms.active.timeline.discard(key);
    this.#hooks.changed();
  }

  /** @param {Item} item @param {string} text @returns {Promise<boolean>} false: the text stays in the composer */
  async edit(item, text) {
    try {
      await this.#maru.edit(this.#rooms.active.name, item.id ?? "", text);
      return true;
    } catch (error) {
      this.#hooks.told(`Not changed: ${reasonOf(error)}.`);
      return false;
    }
  }

  /** @param {string} name of the channel @param {Item} item */
  async remove(name, item) {
    try {
      await this.#maru.remove(name, item.id ?? "");
    } catch (error) {
      this.#hooks.told(`Not deleted: ${reasonOf(error)}.`);
    }
  }

  /** @param {string} me @returns {Item|undefined} */
  lastOf(me) {
    return this.#rooms.active.timeline.items.findLast((item) => item.author?.id === me && !item.deleted);
  }

  /** @param {boolean} isTyping */
  typing(isTyping) {
    const { channel, joined } = this.#rooms.active;
    if (joined) channel.typing(isTyping);
  }
}
