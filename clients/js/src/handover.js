/**
 * The replacement of a connection whose server stops (`session:draining`).
 *
 * At the time that the server gives, the next connection is opened beside the current one. The current connection is
 * used until the replacement has resumed its channels and has its session:ready; then it is retired. If the replacement
 * fails, it is opened again soon, for as long as the current connection lasts.
 */

import { TOKEN_REFUSED } from "./errors.js";

const RETRY_MS = 250; // before a failed replacement is opened again; doubles, as the current connection does not last
const MAX_DOUBLINGS = 4;

/** @typedef {import("./connection.js").Connection} Connection */

export class Handover {
  /** @type {Connection|null} opened, and not in use yet */ replacement = null;

  #options;
  #tokens;
  #dial;
  #failures = 0; // replacements that failed before this one
  /** @type {Set<Connection>} replaced, with answers still to come */ #retired = new Set();

  /**
   * @param {import("./options.js").Options} options @param {import("./tokens.js").TokenSource} tokens
   * @param {(token: string) => Connection} dial opens a connection
   */
  constructor(options, tokens, dial) {
    this.#options = options;
    this.#tokens = tokens;
    this.#dial = dial;
  }

  /** Opens a replacement of `current` at the given time. @param {Connection} current @param {number} at */
  schedule(current, at) {
    const wait = Math.max(0, at - this.#options.timers.now());
    current.after(wait, () => this.#openReplacement(current, 0));
  }

  /** @param {Connection} current @param {number} failures */
  async #openReplacement(current, failures) {
    try {
      const token = await this.#tokens.take();
      if (current.over || this.replacement) return;
      this.#failures = failures;
      this.replacement = this.#dial(token);
    } catch {
      if (!current.over) this.#retryReplacement(current, failures); // no token: current lasts a little longer
    }
  }

  /** @param {Connection} current @param {number} failures */
  #retryReplacement(current, failures) {
    const wait = RETRY_MS * 2 ** Math.min(failures, MAX_DOUBLINGS) * (0.5 + this.#options.random());
    current.after(wait, () => this.#openReplacement(current, failures + 1));
  }

  /**
   * Gives up the replacement; `current` goes on, and another replacement follows.
   * @param {Connection} current @param {import("./errors.js").MaruError} error
   */
  failed(current, error) {
    if (TOKEN_REFUSED.has(error.code)) this.#tokens.drop();
    this.take().close();
    this.#retryReplacement(current, this.#failures);
  }

  /** Hands the replacement over: it is the current connection from now on. */
  take() {
    const replacement = /** @type {Connection} */ (this.replacement);
    this.replacement = null;
    return replacement;
  }

  /** Keeps a replaced connection until its commands are answered. @param {Connection} old */
  retire(old) {
    this.#retired.add(old);
    old.retire(() => this.#retired.delete(old));
  }

  /** Closes the replacement and all retired connections. */
  close() {
    const open = [this.replacement, ...this.#retired];
    this.replacement = null;
    for (const connection of open) connection?.close();
  }
}
