/** Listeners by the name of an event, of which the names are known. */

const CHANNEL_EVENTS = [
  "event",
  "message:created",
  "message:edited",
  "message:deleted",
  "reaction:changed",
  "event:published",
  "reset",
  "removed",
  "delayed",
  "presence",
  "typing",
  "unread",
  "read",
  "queued",
  "settled",
];

/** The names that a channel tells. */
export const OF_CHANNEL = new Set(CHANNEL_EVENTS);
/** The names that a client tells. */
export const OF_CLIENT = new Set([...CHANNEL_EVENTS, "state", "ready", "inbox", "restored"]);

/** @template {object} Events */
export class Emitter {
  /** @type {Map<string, Set<Function>>} */ #listeners = new Map();
  #names;
  #report;

  /** @param {Set<string>} names @param {(error: unknown) => void} report is told of a listener that throws */
  constructor(names, report) {
    this.#names = names;
    this.#report = report;
  }

  /**
   * @template {keyof Events & string} Name
   * @param {Name} name @param {(value: Events[Name]) => void} listener
   * @returns {() => void} takes the listener off again
   */
  on(name, listener) {
    if (!this.#names.has(name)) {
      throw new TypeError(`there is no event ${JSON.stringify(name)}; there are: ${[...this.#names].join(", ")}`);
    }
    if (typeof listener !== "function") throw new TypeError(`on(${JSON.stringify(name)}) needs a function`);
    const set = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, set.add(listener));
    return () => void set.delete(listener);
  }

  /** Whether anybody listens. @param {keyof Events & string} name */
  has(name) {
    return (this.#listeners.get(name)?.size ?? 0) > 0;
  }

  /** A listener that throws must not cost the others an event. @param {string} name @param {any} value */
  emit(name, value) {
    const set = this.#listeners.get(name);
    if (!set) return;
    for (const listener of [...set]) {
      try {
        if (set.has(listener)) listener(value); // else a listener before it has taken it off
      } catch (error) {
        this.#report(error);
      }
    }
  }

  /** Takes every listener off. */
  clear() {
    for (const set of this.#listeners.values()) set.clear();
  }
}
