/** What an application asks of the server: messages, history, people, events, the inbox. */

import { Client } from "./client.js";
import { MaruError } from "./errors.js";
import { newKey } from "./keys.js";
import { isOffset } from "./position.js";

/**
 * @typedef {import("./types.js").Sent} Sent
 * @typedef {import("./types.js").Data} Data
 */

export class Commands extends Client {
  /**
   * Puts a message into the outbox. Resolves when it is in the log; rejects when it can not get there.
   * Repeating a failed send with its `key` makes no second message for 24 h from its first try; after that it can.
   * @param {string} channel @param {string} text
   * @param {import("./index.js").SendOptions} [options] `mentions`: users, or ["*"] for everybody
   * @returns {Promise<Sent>}
   */
  async send(channel, text, { key = newKey(), data, replyTo, mentions } = {}) {
    this.people(channel)?.sent();
    return this.outbox.send({ channel, text, data, reply_to: replyTo, mentions, key });
  }

  /** The messages that wait for the server. @param {string} [channel] of this channel alone */
  unsent(channel) {
    return this.outbox.unsent().filter((send) => channel === undefined || send.channel === channel);
  }

  /**
   * @param {string} channel @param {string} id @param {string} text @param {Data} [data]
   * @returns {Promise<{message: import("./types.js").Message, epoch: string, offset: number}>}
   */
  edit(channel, id, text, data) {
    return this.sessions.command("message:edit", { channel, id, text, data });
  }

  /** @param {string} channel @param {string} id @returns {Promise<{epoch: string, offset: number}>} */
  remove(channel, id) {
    return this.sessions.command("message:delete", { channel, id });
  }

  /**
   * Messages in their current state, oldest first. @param {string} channel
   * @param {{before?: number, after?: number, limit?: number}} [page] `before` and `after` are exclusive
   * @returns {Promise<import("./types.js").Page>}
   */
  history(channel, page = {}) {
    return this.sessions.command("history:read", { channel, ...page });
  }

  /** @param {string} channel @param {string} id @param {string} emoji @returns {Promise<{epoch: string, offset: number, duplicate: boolean}>} */
  react(channel, id, emoji) {
    return this.sessions.command("reaction:add", { channel, id, emoji });
  }

  /** @param {string} channel @param {string} id @param {string} emoji @returns {Promise<{epoch: string, offset: number, duplicate: boolean}>} */
  unreact(channel, id, emoji) {
    return this.sessions.command("reaction:remove", { channel, id, emoji });
  }

  /**
   * Publishes an event of the application: a step of a game, a poll, a cursor.
   * @param {string} channel @param {string} name @param {any} data JSON
   * @param {{key?: string, log?: boolean}} [options] `log: false`: it is told to those that are there, and forgotten
   * @returns {Promise<{epoch?: string, offset?: number, duplicate?: boolean}>}
   */
  async publish(channel, name, data, { key, log = true } = {}) {
    const event = { channel, name, data, ...(log ? { key: key ?? newKey() } : { log }) };
    return this.sessions.command("event:publish", event);
  }

  /**
   * Events of the application that are in the log, oldest first. @param {string} channel
   * @param {{name?: string, before?: number, after?: number, limit?: number}} [page] exclusive
   * @returns {Promise<import("./types.js").EventPage>}
   */
  events(channel, page = {}) {
    return this.sessions.command("events:read", { channel, ...page });
  }

  /**
   * The users in a joined channel. From then on the event `presence` tells each change.
   * @param {string} channel @returns {Promise<import("./types.js").Roster>}
   */
  async presence(channel) {
    const people = this.attend(channel);
    if (!people) throw new MaruError("not_joined", `join ${channel} first`);
    return people.watch();
  }

  /** The user types: call it with each key, it is told no more often than needed. @param {string} channel @param {boolean} [isTyping] */
  typing(channel, isTyping = true) {
    this.people(channel)?.typing(isTyping);
  }

  /** The user has read a joined channel up to a message. @param {string} channel @param {number} [offset] absent: all of it */
  markRead(channel, offset) {
    if (offset !== undefined && !isOffset(offset)) throw new TypeError("markRead needs an offset, or nothing");
    const seen = this.position(channel)?.offset;
    this.people(channel)?.markRead(Math.min(offset ?? seen ?? 0, seen ?? Infinity)); // nobody has read what is not there
  }

  /** What the user has not read in a joined channel; null: not known yet. @param {string} channel */
  unread(channel) {
    return this.people(channel)?.unread ?? null;
  }

  /** How far up to 100 members have read. @param {string} channel @returns {Promise<{read: import("./types.js").Receipt[]}>} */
  receipts(channel) {
    return this.sessions.command("receipts:read", { channel });
  }

  /** Puts a channel into the user's inbox. @param {string} channel @returns {Promise<any>} */
  follow(channel) {
    return this.sessions.command("channel:follow", { channel });
  }

  /** @param {string} channel @returns {Promise<any>} */
  unfollow(channel) {
    return this.sessions.command("channel:unfollow", { channel });
  }

  /**
   * The channels that the user follows, with unread counts; the latest message first.
   * @param {{limit?: number, before?: string}} [page] `before`: the `next` of the page before
   * @returns {Promise<import("./types.js").Inbox>}
   */
  async inbox({ limit = 100, before } = {}) {
    return this.sessions.command("inbox:read", { limit, before });
  }
}
