/**
 * Which of the clients that share a store are alive: tabs of one browser, or a page before its reload.
 *
 * A client holds a lock (Web Locks) for its life: the browser frees it when the tab is gone, whatever the reason. Where
 * there are no locks, a client renews a lease. A client that is taken to be gone and is not costs little: its sends
 * would go out twice under one key, which is one message.
 */

import { newKey } from "./keys.js";

const LEASE_MS = 25_000; // beyond two turns of `RENEW_MS`, and a page in the background that is woken once a minute
export const RENEW_MS = 10_000;
const LEASE = "tab:";

export class Tab {
  id = newKey();

  #store;
  #timers;
  /** @type {LockManager|undefined} */ #locks;
  /** @type {(() => void)|null} gives the lock back */ #release = null;

  /** @param {import("./storage.js").Store} store @param {import("./options.js").Options["timers"]} timers */
  constructor(store, timers) {
    this.#store = store;
    this.#timers = timers;
    this.#locks = globalThis.navigator?.locks;
  }

  /** Holds the lock from now on, or renews the lease. */
  async renew() {
    if (!this.#locks) return this.#store.set(LEASE + this.id, String(this.#timers.now() + LEASE_MS));
    if (this.#release) return;
    const held = new Promise((/** @type {(value?: any) => void} */ release) => (this.#release = release));
    this.#locks.request(this.#lockOf(this.id), () => held).catch(() => (this.#release = null));
  }

  /** Is gone by its own will. */
  async leave() {
    this.#release?.();
    this.#release = null;
    if (!this.#locks) await this.#store.remove(LEASE + this.id);
  }

  /** Runs `take` if another client is gone, and no third one takes what it left. @param {string} id @param {() => Promise<void>} take */
  async ifGone(id, take) {
    if (this.#locks) {
      await this.#locks.request(this.#lockOf(id), { ifAvailable: true }, (lock) => (lock ? take() : undefined));
      return;
    }
    const until = Number((await this.#store.get(LEASE + id)) ?? 0);
    if (until > this.#timers.now()) return;
    await take();
    await this.#store.remove(LEASE + id);
  }

  /** @param {string} id */
  #lockOf(id) {
    return `maru:${this.#store.name}:${id}`;
  }
}
