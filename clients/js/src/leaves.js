/** Leaving a channel: the server is told until it has done it, or the connection is over. */

import { backoff } from "./options.js";

/** @typedef {import("./connection.js").Connection} Connection */

export class Leaves {
  #session;
  #options;

  /** @param {import("./session.js").Session} session @param {import("./options.js").Options} options */
  constructor(session, options) {
    this.#session = session;
    this.#options = options;
  }

  /** The server brings a channel that was left. @param {string} channel @param {Connection} connection */
  again(channel, connection) {
    if (!connection.leaving.has(channel)) this.say(channel, connection).catch(() => {});
  }

  /**
   * Leaves on one connection: again and again, until it is done or not needed. The next connection does not name the
   * channel, and a join makes the leave pointless.
   * @param {string} channel @param {Connection} connection
   */
  async say(channel, connection) {
    const leave = {};
    connection.leaving.set(channel, leave);
    const isOwed = () => connection.leaving.get(channel) === leave;
    try {
      for (let failures = 0; isOwed() && !connection.over; failures++) {
        const error = await this.#session.command("channel:leave", { channel }, connection).then(
          () => null,
          (/** @type {any} */ refusal) => refusal,
        );
        if (!error) return;
        if (!error.retryable) throw error;
        await connection.pause(Math.max(error.retryAfterMs, backoff(this.#options, failures)));
      }
    } finally {
      if (isOwed()) connection.leaving.delete(channel);
    }
  }
}
