/**
 * A number of places, for so many things at once. Joins have them: with hundreds of channels, each of which is refused
 * again and again for coming too fast, the server would take the client to be broken.
 */
export class Places {
  #free;
  /** @type {(() => void)[]} who wait for a place, the first first */ #waiting = [];

  /** @param {number} count */
  constructor(count) {
    this.#free = count;
  }

  /** Takes a place. @returns {Promise<void>|null} the wait for it; null if there is one */
  take() {
    if (this.#free > 0) {
      this.#free--;
      return null;
    }
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** Gives a place back. */
  release() {
    const next = this.#waiting.shift();
    if (next) next();
    else this.#free++;
  }
}
