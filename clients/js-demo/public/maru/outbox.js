/**
 * The outbox: messages that wait until the server has them in its log.
 *
 * Each channel has a queue, so that its messages stay in order. A send is repeated under its key until the server
 * answers, so it is in the log once or it has failed.
 *
 * @typedef {{payload: object, since: number, attempts: number, inFlight: {connection: any}|null,
 *            promise: Promise<any>, resolve: (ack: any) => void, reject: (error: any) => void}} Pending
 *   one send; `inFlight` while it waits for the answer on that connection
 * @typedef {{keys: string[], notBefore: number, timer: any}} Queue
 *   the sends of one channel, oldest first; paused until `notBefore` by `timer`
 */

import { MaruError } from "./errors.js";
import { backoff } from "./options.js";

const KEY_LIFE_MS = 23 * 3_600_000; // the server knows a key for 24 h: later, a retry could double the message

/** Makes a new key. `randomUUID` exists on https and localhost only, `getRandomValues` everywhere. */
export function newKey(source = globalThis.crypto) {
  if (source.randomUUID) return source.randomUUID();
  const bytes = source.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export class Outbox {
  #session;
  #options;
  /** @type {Map<string, Pending>} by key */ #pending = new Map();
  /** @type {Map<string, Queue>} by channel */ #queues = new Map();

  /** @param {import("./session.js").Session} session @param {import("./options.js").Options} options */
  constructor(session, options) {
    this.#session = session;
    this.#options = options;
  }

  /**
   * Queues a message. Resolves with the ack; a key that is queued already gets the answer of the first send.
   * @param {{channel: string, key: string, [field: string]: any}} payload of message:send
   */
  send(payload) {
    const { channel, key } = payload;
    const known = this.#pending.get(key);
    if (known) return known.promise;
    const { state, error } = this.#session;
    if (state === "signed-out") return Promise.reject(error ?? new MaruError("closed"));
    if (this.#pending.size >= this.#options.outboxLimit) {
      return Promise.reject(new MaruError("outbox_full", `${this.#pending.size} messages wait for the server already`));
    }
    const pending = /** @type {any} */ ({ payload, since: this.#now(), attempts: 0, inFlight: null });
    pending.promise = new Promise((resolve, reject) => Object.assign(pending, { resolve, reject }));
    this.#pending.set(key, pending);
    const queue = this.#queues.get(channel) ?? { keys: [], notBefore: 0, timer: null };
    queue.keys.push(key);
    this.#queues.set(channel, queue);
    this.#flush(channel);
    return pending.promise;
  }

  /** There is a connection: sends the messages that may be sent now. */
  flushAll() {
    for (const channel of this.#queues.keys()) this.#flush(channel);
  }

  /** The sends in flight get no answer; `flushAll` sends them again. */
  answersLost() {
    for (const pending of this.#pending.values()) pending.inFlight = null;
  }

  /** There will be no connection: every send fails. @param {MaruError} error */
  stopped(error) {
    for (const key of [...this.#pending.keys()]) this.#settle(key, error);
  }

  /** Sends the messages that may be sent now, oldest first. @param {string} channel */
  #flush(channel) {
    const queue = this.#queues.get(channel);
    if (!queue || this.#session.state !== "online" || queue.notBefore > this.#now()) return;
    const { current } = this.#session;
    const keys = queue.keys.slice(0, this.#options.inFlight);
    const sends = keys.map((key) => /** @type {Pending} */ (this.#pending.get(key)));
    // A send that waits on a replaced connection comes first: its answer, or its repetition.
    if (sends.some(({ inFlight }) => inFlight && inFlight.connection !== current)) return;
    keys.forEach((key, index) => sends[index].inFlight ?? this.#dispatch(channel, key, sends[index]));
  }

  /** @param {string} channel @param {string} key @param {Pending} pending */
  async #dispatch(channel, key, pending) {
    const inFlight = (pending.inFlight = { connection: this.#session.current });
    pending.attempts += 1;
    try {
      if (this.#now() - pending.since > KEY_LIFE_MS) {
        throw new MaruError("key_expired", "too old to be retried without the risk of doubling it");
      }
      this.#settle(key, null, await this.#session.command("message:send", pending.payload));
    } catch (error) {
      if (pending.inFlight !== inFlight) return; // the connection was lost: `flushAll` sends it again
      pending.inFlight = null;
      if (!(error instanceof MaruError) || !error.retryable) return this.#settle(key, error);
      if (inFlight.connection === this.#session.current) this.#pause(channel, pending, error.retryAfterMs);
      else this.#flush(channel); // its connection was replaced: again on the current one
    }
  }

  /**
   * Pauses the channel's queue after a refusal.
   * @param {string} channel @param {Pending} pending the refused send @param {number} atLeastMs
   */
  #pause(channel, { attempts }, atLeastMs) {
    const queue = this.#queues.get(channel);
    if (!queue) return;
    const { timers } = this.#options;
    const wait = Math.max(atLeastMs, backoff(this.#options, attempts - 1));
    queue.notBefore = Math.max(queue.notBefore, this.#now() + wait);
    timers.clear(queue.timer);
    queue.timer = timers.set(() => {
      queue.notBefore = 0; // the pause is over, even if clock and timer disagree by a fraction of a millisecond
      this.#flush(channel);
    }, queue.notBefore - this.#now());
  }

  /** @param {string} key @param {any} error @param {any} [ack] */
  #settle(key, error, ack) {
    const pending = this.#pending.get(key);
    if (!pending) return;
    const { channel } = /** @type {{channel: string}} */ (pending.payload);
    const queue = /** @type {Queue} */ (this.#queues.get(channel));
    this.#pending.delete(key);
    queue.keys.splice(queue.keys.indexOf(key), 1);
    if (queue.keys.length === 0) {
      this.#options.timers.clear(queue.timer);
      this.#queues.delete(channel);
    }
    if (error) pending.reject(error);
    else pending.resolve(ack);
    this.#flush(channel);
  }

  #now() {
    return this.#options.timers.now();
  }
}
