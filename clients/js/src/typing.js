/** Who is typing in one channel, and telling that the user is. */

const START_EVERY_MS = 3_000; // the server tells others no more often
const EXPIRES_MS = 8_000; // without another start nobody takes the user to be typing
const EXPIRES_MAX_MS = 30_000; // whatever the server says

export class TypingUsers {
  #timers;
  #changed;
  /** @type {Map<string, any>} user to the timer that ends it */ #users = new Map();
  #startedAt = -Infinity; // by the user of this client

  /** @param {import("./options.js").Options["timers"]} timers @param {() => void} changed */
  constructor(timers, changed) {
    this.#timers = timers;
    this.#changed = changed;
  }

  get users() {
    return [...this.#users.keys()];
  }

  /** @param {{user: string, typing: boolean, expires_in_ms?: number}} told */
  heard({ user, typing, expires_in_ms: expires = EXPIRES_MS }) {
    if (!typing) return this.ended(user);
    const isNew = !this.#users.has(user);
    this.#timers.clear(this.#users.get(user));
    const timer = this.#timers.set(() => this.ended(user), Math.min(expires, EXPIRES_MAX_MS));
    this.#users.set(user, timer);
    if (isNew) this.#changed();
  }

  /** The user has stopped, sent the message, or left. @param {string} user */
  ended(user) {
    if (!this.#users.has(user)) return;
    this.#timers.clear(this.#users.get(user));
    this.#users.delete(user);
    this.#changed();
  }

  /** There is no connection. */
  forget() {
    this.#startedAt = -Infinity;
    if (this.#users.size === 0) return;
    for (const timer of this.#users.values()) this.#timers.clear(timer);
    this.#users.clear();
    this.#changed();
  }

  /** The user of this client types, or has stopped. @param {boolean} typing @returns {string|null} the command to send */
  says(typing) {
    const now = this.#timers.now();
    const ago = now - this.#startedAt;
    if (typing) {
      if (ago < START_EVERY_MS) return null;
      this.#startedAt = now;
      return "typing:start";
    }
    this.#startedAt = -Infinity;
    return ago < EXPIRES_MS ? "typing:stop" : null;
  }

  /** The user of this client has sent a message: that ends it on the server, too. */
  sent() {
    this.#startedAt = -Infinity;
  }
}
