/** The options of `createMaru` with their defaults, and the pause between two tries. */

/** Makes the address of a server whole: "https://host/" would ask for the namespace "//chat". @param {unknown} url */
export function origin(url) {
  return String(url ?? "").replace(/(\/+chat)?\/*$/, "");
}

export const DEFAULTS = {
  url: "", // origin of the server; "" is the page's own
  ackTimeoutMs: 10_000, // for the answer to a command; the server itself answers within 2 s
  connectTimeoutMs: 10_000, // from opening the WebSocket to session:ready; also for `getToken`
  backoffMinMs: 1_000,
  backoffMaxMs: 10_000,
  outboxLimit: 500, // unanswered sends, all channels together
  inFlight: 1, // unanswered sends per channel on the wire; with more, a refused send can be overtaken
  inbox: 0, // channels that the user follows, of which the event `inbox` tells at the start; at most 500
  /** @type {import("./storage.js").Store|null} keeps the outbox and the positions over a reload */ storage: null,
  /** @type {(entry: LogEntry) => void} is told of each step: for a log */ log: () => {},
  report: (/** @type {unknown} */ error) => console.error("maru: a listener failed", error),
  random: Math.random,
  timers: {
    now: () => Date.now(),
    set: (/** @type {() => void} */ run, /** @type {number} */ ms) => globalThis.setTimeout(run, ms),
    clear: (/** @type {any} */ timer) => globalThis.clearTimeout(timer),
  },
};

/**
 * @typedef {{event: "state"|"connecting"|"command"|"heard"|"storage.failed", [field: string]: any}} LogEntry
 *   no token and no text of a message is among the fields
 */
/** @typedef {typeof DEFAULTS & {io: Function, getToken: () => Promise<string>|string}} Options */

const MAX_DOUBLINGS = 16; // far beyond any cap, and still a finite number

/**
 * Returns the milliseconds to wait before the next try: doubling, capped, spread by half to either side.
 * @param {Options} options @param {number} failures tries that have failed before, in a row
 */
export function backoff({ backoffMinMs, backoffMaxMs, random }, failures) {
  return Math.min(backoffMaxMs, backoffMinMs * 2 ** Math.min(failures, MAX_DOUBLINGS)) * (0.5 + random());
}
