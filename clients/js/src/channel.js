/**
 * One channel, as one part of an application uses it: a window, a component, a plug-in. It has its own listeners; the
 * channel is left when the last of those that have joined it leaves.
 */

import { Emitter, OF_CHANNEL } from "./emitter.js";

/**
 * @typedef {import("./types.js").ChannelEvents} ChannelEvents
 * @typedef {import("./index.js").Maru} Maru
 */

export class Channel {
  /** @type {Emitter<ChannelEvents>} */ #emitter;
  #maru;
  #link;

  /**
   * @param {string} name @param {Maru} maru
   * @param {import("./links.js").Link} link
   * @param {(error: unknown) => void} report
   */
  constructor(name, maru, link, report) {
    this.name = name;
    this.#maru = maru;
    this.#link = link;
    this.#emitter = new Emitter(OF_CHANNEL, report);
    link.emit = (event, value) => this.#emitter.emit(event, value);
  }

  /**
   * Calls `listener` for each event of a name in this channel.
   * @template {keyof ChannelEvents} Name
   * @param {Name} name @param {(value: ChannelEvents[Name]) => void} listener
   * @returns {() => void} takes the listener off again
   */
  on(name, listener) {
    const off = this.#emitter.on(name, listener);
    this.#link.listen();
    return off;
  }

  /** As `Maru.join`, for this object. @param {import("./types.js").JoinOptions} [options] */
  join(options) {
    return this.#link.join(options);
  }

  /** Takes the listeners of this object off; the channel is left if nobody else has joined it. @returns {Promise<void>} */
  leave() {
    this.#emitter.clear();
    return this.#link.leave();
  }

  /** As `Maru.send`. @param {string} text @param {import("./index.js").SendOptions} [options] */
  send(text, options) {
    return this.#maru.send(this.name, text, options);
  }

  /** @param {string} id @param {string} text @param {import("./types.js").Data} [data] */
  edit(id, text, data) {
    return this.#maru.edit(this.name, id, text, data);
  }

  /** @param {string} id */
  remove(id) {
    return this.#maru.remove(this.name, id);
  }

  /** As `Maru.history`. @param {{before?: number, after?: number, limit?: number}} [page] */
  history(page) {
    return this.#maru.history(this.name, page);
  }

  /** @param {string} id of a message @param {string} emoji */
  react(id, emoji) {
    return this.#maru.react(this.name, id, emoji);
  }

  /** @param {string} id of a message @param {string} emoji */
  unreact(id, emoji) {
    return this.#maru.unreact(this.name, id, emoji);
  }

  /** As `Maru.publish`. @param {string} name @param {any} data @param {{key?: string, log?: boolean}} [options] */
  publish(name, data, options) {
    return this.#maru.publish(this.name, name, data, options);
  }

  /** As `Maru.events`. @param {{name?: string, before?: number, after?: number, limit?: number}} [page] */
  events(page) {
    return this.#maru.events(this.name, page);
  }

  /** As `Maru.presence`; from then on the event `presence` tells each change. */
  presence() {
    return this.#maru.presence(this.name);
  }

  /** As `Maru.typing`. @param {boolean} [isTyping] */
  typing(isTyping) {
    this.#maru.typing(this.name, isTyping);
  }

  /** As `Maru.markRead`. @param {number} [offset] */
  markRead(offset) {
    this.#maru.markRead(this.name, offset);
  }

  /** How far up to 100 members have read, where the deployment tells it. */
  receipts() {
    return this.#maru.receipts(this.name);
  }

  follow() {
    return this.#maru.follow(this.name);
  }

  unfollow() {
    return this.#maru.unfollow(this.name);
  }

  /** What the user has not read; null: not known yet. */
  get unread() {
    return this.#maru.people(this.name)?.unread ?? null;
  }

  /** The users in the channel; null: nobody has asked, or they are not known yet. */
  get roster() {
    return this.#maru.people(this.name)?.roster ?? null;
  }

  /** The others who are typing. */
  get typists() {
    return this.#maru.people(this.name)?.typists ?? [];
  }
}
