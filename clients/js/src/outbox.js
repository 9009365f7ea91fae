/**
 * The outbox: messages that wait until the server has them in its log.
 *
 * Each channel has a queue, so that its messages stay in order. A send is repeated under its key until the server
 * answers, so it is in the log once or it has failed.
 *
 * A send that ends the connection would end each next connection too. So the sends that were in flight when a
 * connection was lost are suspects: the next connection gets them alone, one after another, and a send that was the
 * first in flight at three losses fails.
 *
 * @typedef {{payload: object, user: string|undefined, since: number, attempts: number, inFlight: {connection: any, number: number}|null,
 *            losses: number,
 *            promise: Promise<any>, resolve: (ack: any) => void, reject: (error: any) => void}} Pending
 *   one send; `user` of the session in which it was made, undefined before the first; `inFlight` while it waits for the answer on that connection, as the `number`th send of all; `losses` of a
 *   connection while it was the first in flight
 * @typedef {{keys: string[], notBefore: number, timer: any}} Queue
 *   the sends of one channel, oldest first; paused until `notBefore` by `timer`
 */

import { MaruError } from "./errors.js";
import { backoff } from "./options.js";
import { plainOf } from "./payload.js";

const KEY_LIFE_MS = 23 * 3_600_000; // the server knows a key for 24 h: later, a retry could double the message

const LOSSES = 3; // of a connection while one send was the first in flight: the send is the cause

export class Outbox {
  #session;
  #options;
  #emit;
  /** @type {Map<string, Pending>} by key */ #pending = new Map();
  /** @type {Map<string, Queue>} by channel */ #queues = new Map();
  /** @type {Set<string>} keys of the sends that were in flight when a connection was lost */ #suspects = new Set();
  #sends = 0; // sends that went out, repetitions included
  #persistence;
  #isHeld; // until the sends that were made before are known: they go first

  /**
   * @param {import("./session.js").Session} session @param {import("./options.js").Options} options
   * @param {(name: string, value: any) => void} emit tells the application
   * @param {import("./persistence.js").Persistence|null} persistence
   */
  constructor(session, options, emit, persistence) {
    this.#session = session;
    this.#options = options;
    this.#emit = emit;
    this.#persistence = persistence;
    this.#isHeld = persistence !== null;
  }

  /** What was to be restored is restored. */
  release() {
    this.#isHeld = false;
    this.flushAll();
  }

  /** The messages that wait, oldest first. @returns {import("./types.js").Unsent[]} */
  unsent() {
    return [...this.#pending.values()].map(({ payload }) => /** @type {any} */ (payload));
  }

  /**
   * Queues a message. Resolves with the ack; a key that is queued already gets the answer of the first send.
   * @param {{channel: string, key: string, [field: string]: any}} content of message:send
   * @returns {Promise<import("./types.js").Sent>}
   */
  async send(content) {
    const payload = plainOf(content, this.#session.payloadBytes);
    const { channel, key } = payload;
    const known = this.#pending.get(key);
    if (known) return known.promise;
    const { state, error } = this.#session;
    if (state === "signed-out") throw error ?? new MaruError("closed");
    if (this.#pending.size >= this.#options.outboxLimit) {
      throw new MaruError("outbox_full", `${this.#pending.size} messages wait for the server already`);
    }
    const since = this.#now();
    this.#persistence?.queued(payload, since);
    const { promise } = this.#queue(payload, since);
    this.#emit("queued", payload);
    this.#flush(channel);
    return promise;
  }

  /** Sends that were made before a reload, or by a tab that is gone, wait again. @param {import("./persistence.js").Kept[]} kept */
  restore(kept) {
    const missing = kept.filter(({ payload }) => !this.#pending.has(payload.key));
    for (const { payload, since } of missing) this.#queue(payload, since).promise.catch(() => {}); // `settled` tells
    if (missing.length > 0) this.#emit("restored", { sends: missing.map(({ payload }) => payload) });
    this.flushAll();
  }

  /** @param {any} payload @param {number} since @returns {Pending} */
  #queue(payload, since) {
    const { channel, key } = payload;
    const pending = /** @type {any} */ ({ payload, since, attempts: 0, inFlight: null, losses: 0 });
    pending.user = this.#session.info?.user;
    pending.promise = new Promise((resolve, reject) => Object.assign(pending, { resolve, reject }));
    this.#pending.set(key, pending);
    const queue = this.#queues.get(channel) ?? { keys: [], notBefore: 0, timer: null };
    const isLater = (/** @type {string} */ other) => {
      const behind = /** @type {Pending} */ (this.#pending.get(other));
      return behind.attempts === 0 && behind.since > since;
    };
    const place = queue.keys.findIndex(isLater);
    queue.keys.splice(place < 0 ? queue.keys.length : place, 0, key);
    this.#queues.set(channel, queue);
    return pending;
  }

  /** There is a connection: sends the messages that may be sent now. */
  flushAll() {
    for (const channel of this.#queues.keys()) this.#flush(channel);
  }

  /**
   * The sends in flight get no answer; `flushAll` sends them again.
   * @param {boolean} isLoss whether the first of them may be the cause
   */
  answersLost(isLoss) {
    const inFlight = [...this.#pending].filter(([, pending]) => pending.inFlight);
    inFlight.sort(([, one], [, other]) => numberOf(one) - numberOf(other));
    for (const [key, pending] of inFlight) {
      pending.inFlight = null;
      this.#suspects.add(key);
    }
    if (!isLoss || inFlight.length === 0) return;
    const [[key, first]] = inFlight;
    first.losses += 1;
    if (first.losses < LOSSES) return;
    const reason = `the connection was lost ${LOSSES} times while this message was the first without an answer`;
    this.#settle(key, new MaruError("connection_ended", reason));
  }

  /** There will be no connection: every send fails. @param {MaruError} error */
  stopped(error) {
    for (const key of [...this.#pending.keys()]) this.#settle(key, error);
  }

  /** Sends the messages that may be sent now, oldest first. @param {string} channel */
  #flush(channel) {
    const queue = this.#queues.get(channel);
    const { current, state } = this.#session;
    if (this.#isHeld || !queue || state !== "online" || !current?.connected || queue.notBefore > this.#now()) return;
    if (this.#suspects.size > 0) return this.#flushSuspect();
    const keys = queue.keys.slice(0, this.#options.inFlight);
    const sends = keys.map((key) => /** @type {Pending} */ (this.#pending.get(key)));
    // A send that waits on a replaced connection comes first: its answer, or its repetition.
    if (sends.some(({ inFlight }) => inFlight && inFlight.connection !== current)) return;
    keys.forEach((key, index) => sends[index].inFlight ?? this.#dispatch(channel, key, sends[index]));
  }

  /** Sends a suspect, unless another send is in flight: those with fewer losses first, each channel in its order. */
  #flushSuspect() {
    if ([...this.#pending.values()].some(({ inFlight }) => inFlight)) return;
    const now = this.#now();
    const firsts = [...this.#queues.values()]
      .filter(({ notBefore }) => notBefore <= now)
      .flatMap(({ keys }) => keys.find((key) => this.#suspects.has(key)) ?? [])
      .map((key) => ({ key, pending: /** @type {Pending} */ (this.#pending.get(key)) }))
      .sort((one, other) => one.pending.losses - other.pending.losses);
    for (const { key, pending } of firsts.slice(0, 1)) this.#dispatch(channelOf(pending), key, pending);
  }

  /** The connection has survived this send. @param {string} key @param {Pending} pending */
  #clear(key, pending) {
    pending.losses = 0;
    if (this.#suspects.delete(key) && this.#suspects.size === 0) this.flushAll();
  }

  /** @param {string} channel @param {string} key @param {Pending} pending */
  async #dispatch(channel, key, pending) {
    const inFlight = (pending.inFlight = { connection: this.#session.current, number: ++this.#sends });
    pending.attempts += 1;
    try {
      if (pending.user !== undefined && pending.user !== this.#session.info?.user) {
        throw new MaruError("closed", "it was written by another user, who has signed out");
      }
      if (this.#now() - pending.since > KEY_LIFE_MS) {
        throw new MaruError("key_expired", "too old to be retried without the risk of doubling it");
      }
      this.#settle(key, null, await this.#session.command("message:send", pending.payload));
    } catch (error) {
      if (pending.inFlight !== inFlight) return; // the connection was lost: `flushAll` sends it again
      pending.inFlight = null;
      if (inFlight.connection === this.#session.current) this.#clear(key, pending);
      if (!(error instanceof MaruError) || !error.retryable) return this.#settle(key, error);
      if (inFlight.connection === this.#session.current) this.#pause(channel, key, error);
      else this.#flush(channel); // its connection was replaced: again on the current one
    }
  }

  /**
   * Pauses the channel's queue after a refusal, and tells so.
   * @param {string} channel @param {string} key of the refused send @param {MaruError} error
   */
  #pause(channel, key, error) {
    const queue = this.#queues.get(channel);
    const pending = this.#pending.get(key);
    if (!queue || !pending) return;
    const { timers } = this.#options;
    const wait = Math.max(error.retryAfterMs, backoff(this.#options, pending.attempts - 1));
    queue.notBefore = Math.max(queue.notBefore, this.#now() + wait);
    timers.clear(queue.timer);
    queue.timer = timers.set(() => {
      queue.notBefore = 0; // the pause is over, even if clock and timer disagree by a fraction of a millisecond
      this.#flush(channel);
    }, queue.notBefore - this.#now());
    this.#emit("delayed", { channel, key, error, waitMs: wait });
  }

  /** @param {string} key @param {any} error @param {any} [ack] */
  #settle(key, error, ack) {
    const pending = this.#pending.get(key);
    if (!pending) return;
    const channel = channelOf(pending);
    const queue = this.#queueOf(pending);
    this.#pending.delete(key);
    queue.keys.splice(queue.keys.indexOf(key), 1);
    if (queue.keys.length === 0) {
      this.#options.timers.clear(queue.timer);
      this.#queues.delete(channel);
    }
    this.#persistence?.settled(key);
    if (error) pending.reject(error);
    else pending.resolve(ack);
    this.#emit("settled", { channel, key, error, sent: ack ?? null });
    if (this.#suspects.delete(key)) this.flushAll();
    else this.#flush(channel);
  }

  /** @param {Pending} pending */
  #queueOf(pending) {
    return /** @type {Queue} */ (this.#queues.get(channelOf(pending)));
  }

  #now() {
    return this.#options.timers.now();
  }
}

/** @param {Pending} pending */
function channelOf({ payload }) {
  return /** @type {{channel: string}} */ (payload).channel;
}

/** @param {Pending} pending */
function numberOf({ inFlight }) {
  return /** @type {{number: number}} */ (inFlight).number;
}
