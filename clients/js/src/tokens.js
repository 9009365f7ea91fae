/** The token of the session: fetched from the application, and kept for the next connection while it is valid. */

import { MaruError, transient } from "./errors.js";
import { isBroken } from "./text.js";

const TOKEN_CHARS = 16_384; // the server takes no longer token
const REFUSALS_LIMIT = 3; // new tokens in a row that have expired on arrival: a clock is wrong

export class TokenSource {
  #options;
  /** @type {{value: string, fresh: boolean, expiresAt: number}|null} `fresh`: not accepted by the server yet */
  #token = null;
  #refusals = 0; // of fresh tokens, in a row

  /** @param {import("./options.js").Options} options */
  constructor(options) {
    this.#options = options;
  }

  /** Returns the kept token while it is valid, or a new one. @throws as `fetch` */
  async take() {
    if (this.#token && this.#token.expiresAt > this.#options.timers.now()) {
      this.#token.fresh = false;
    } else {
      this.#token = { value: await this.fetch(), fresh: true, expiresAt: Infinity };
    }
    return this.#token.value;
  }

  /**
   * Asks the application for a new token, with a deadline. The token is not kept.
   * @returns {Promise<string>} @throws the error of `getToken`, or `token_unavailable` after the deadline
   */
  fetch() {
    const { connectTimeoutMs, getToken, timers } = this.#options;
    return new Promise((resolve, reject) => {
      const late = transient("token_unavailable", "no token in time");
      const timer = timers.set(() => reject(late), connectTimeoutMs);
      const got = new Promise((start) => start(getToken())); // so that an error thrown at once is a rejection too
      got.then(checked).then(resolve, reject).finally(() => timers.clear(timer));
    });
  }

  /** A session has begun: keeps its token, unless it was dropped meanwhile, until it expires. @param {string} expiresAt */
  accepted(expiresAt) {
    if (this.#token) this.renewed(this.#token.value, expiresAt);
    this.#refusals = 0;
  }

  /** The server has taken a new token for the session. @param {string} value @param {string} expiresAt */
  renewed(value, expiresAt) {
    this.#token = { value, fresh: false, expiresAt: Date.parse(expiresAt) || Infinity };
  }

  /** Drops the token that the server has refused. Returns whether a new token deserves a try. @param {string} code */
  refused(code) {
    const fresh = this.#token?.fresh === true;
    this.drop();
    // A kept token may be too old, or signed before a change of keys.
    return !fresh || (code !== "unauthenticated" && ++this.#refusals < REFUSALS_LIMIT);
  }

  /** Drops the kept token. */
  drop() {
    this.#token = null;
  }

  /** Drops the kept token, and forgets earlier refusals: the session is over. */
  reset() {
    this.drop();
    this.#refusals = 0;
  }
}

/** Returns the token, if the server can read it: it closes the connection for some other values. @param {any} token */
function checked(token) {
  if (typeof token === "string" && token.length <= TOKEN_CHARS && !isBroken(token)) return token;
  throw new MaruError("token_unavailable", `getToken gave no text of at most ${TOKEN_CHARS} characters`);
}

/** Names the cause of a missing token; it is final if it says `retryable: false`. @param {any} cause */
export function tokenError(cause) {
  if (cause instanceof MaruError) return cause;
  const retryable = cause?.retryable !== false;
  return new MaruError("token_unavailable", String(cause?.message ?? cause), { retryable });
}
