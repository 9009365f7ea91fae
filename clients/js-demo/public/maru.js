/**
 * The client core of Maru: one file to copy. It needs nothing but the `io` of socket.io-client 4, handed in.
 *
 * It keeps three promises over lost connections, server restarts and expiring tokens:
 *  - every event of a joined channel reaches `on("event")` once, in offset order, or `on("reset")` says that
 *    history has to be read again;
 *  - every send is retried under one key until the server answers, so it is in the log once or it has failed;
 *  - it never gives up on an error that time can heal, and stops with a reason on one that time cannot.
 *
 * One connection attempt is one socket.io socket: `reconnection` is off, because socket.io-client does not
 * retry a refused CONNECT or a server's DISCONNECT, and because its offline buffer would double a message.
 *
 * A server that stops says so (`session:draining`), and when to come back. Then the next connection (the heir) is
 * opened beside the present one, which goes on until the heir has resumed: nobody notices. Both bring each channel's
 * events in order and without a hole, so that dropping what is not newer than the position is all the merging there is.
 *
 * @typedef {{epoch: string, offset: number}} Position
 * @typedef {"connecting"|"online"|"reconnecting"|"offline"|"signed-out"} State
 * @typedef {Position & {event: string, channel: string, at: string, [field: string]: any}} LogEvent
 * @typedef {{channel: string, position: Position|null, history: number|undefined, live: boolean,
 *            joining: boolean, attempts: number, held: LogEvent[],
 *            waiters: {resolve: Function, reject: Function}[]}} Subscription
 * @typedef {{payload: object, since: number, attempts: number, flight: {link: Link|null}|null,
 *            promise: Promise<any>, resolve: Function, reject: Function}} Pending
 * @typedef {{socket: any, timers: Set<any>, deadline: any, expiring: boolean, moveAt: number|null,
 *            resumed: Set<string>, unanswered: number}} Link one socket.io socket: its timers and the one for
 *            session:ready; of what an heir was told, whether its token ends soon and when its server wants it to be
 *            elsewhere; the channels that it has resumed as an heir, how many commands it owes an answer
 */

const LOG_EVENTS = ["message:created", "message:edited", "message:deleted", "reaction:changed"];
const TOKEN_REFUSED = new Set(["unauthenticated", "token_expired"]);
const TRANSIENT = new Set(["rate_limited", "unavailable", "overloaded"]); // a bare code that time can heal
const PAYLOAD_BYTES = 65_536; // of a frame, until the server has told its limit
const FRAME_BYTES = 128; // of it, beside the command's data: packet types, namespace, ack id, event name
const LONE_SURROGATE = /\p{Surrogate}/u;
const RESUME_CHARS = 32_768; // of CONNECT's 65,536 bytes, which hold the token too; the rest are joined one by one
const RESUME_LIMIT = 500; // channels the server takes in CONNECT; the rest are joined one by one afterwards
const HELD_LIMIT = 1_000; // events kept while a join is on its way; the oldest go, and the gap is healed
const KEY_LIFE_MS = 23 * 3_600_000; // the server knows a key for 24 h: later, a retry could double
const STEADY_MS = 5_000; // a connection this old has proved itself: the backoff starts anew
const OFFLINE_AFTER = 3; // failed attempts in a row before "reconnecting" is called "offline"
const REFUSALS_LIMIT = 3; // tokens in a row that expire before they are used: somebody's clock is wrong
const HEIR_RETRY_MS = 250; // the next connection was refused, and the present one lasts a little longer
const RETIRE_MS = 5_000; // for the answers that a connection owes once it has an heir; the server answers within 2 s
const REFRESH_TRIES = 8; // at one per backoff they fill the 60 s between session:expiring and the end

const DEFAULTS = {
  url: "", // origin of the server; "" is the page's own
  ackTimeoutMs: 10_000, // a command without an answer; the server itself answers within 2 s
  connectTimeoutMs: 10_000, // from opening the WebSocket to session:ready
  backoffMinMs: 1_000,
  backoffMaxMs: 10_000,
  outboxLimit: 500, // unanswered sends, all channels together
  inFlight: 1, // sends on their way per channel; more is faster, but a refused one can then be overtaken
  report: (/** @type {unknown} */ error) => console.error("maru: a listener failed", error),
  random: Math.random,
  timers: {
    now: () => Date.now(),
    set: (/** @type {() => void} */ run, /** @type {number} */ ms) => globalThis.setTimeout(run, ms),
    clear: (/** @type {any} */ timer) => globalThis.clearTimeout(timer),
  },
};

/**
 * A refusal with the protocol's `code` (PROTOCOL.md, errors), or one of the client's own: `offline`,
 * `timeout`, `token_unavailable` (retryable), `outbox_full`, `key_expired`, `terminated`, `closed` (not).
 */
export class MaruError extends Error {
  /**
   * @param {string} code @param {string} [message]
   * @param {{retryable?: boolean, retry_after_ms?: number, details?: any}} [more] as in the error envelope
   */
  constructor(code, message, more = {}) {
    super(message || code);
    this.name = "MaruError";
    this.code = code;
    this.retryable = more.retryable === true;
    this.retryAfterMs = more.retry_after_ms ?? 0;
    this.details = more.details;
  }

  /** @param {any} envelope `{code, message, retryable, ...}` of the wire; a broken one is `internal` */
  static from(envelope) {
    const message = envelope?.message ?? "the server gave no reason";
    return new MaruError(envelope?.code ?? "internal", message, envelope ?? {});
  }
}

/**
 * What the server would end the connection for, again and again with each retry: refused here instead.
 * @param {object} data @param {number} limit bytes of a frame
 */
function unsendable(data, limit) {
  let whole = true;
  const check = (/** @type {string} */ name, /** @type {any} */ value) => {
    whole &&= !LONE_SURROGATE.test(name) && !(typeof value === "string" && LONE_SURROGATE.test(value));
    return value;
  };
  try {
    const bytes = new TextEncoder().encode(JSON.stringify(data, check)).length + FRAME_BYTES;
    if (bytes > limit) return new MaruError("payload_too_large", `${bytes} bytes, at most ${limit}`);
  } catch {
    return new MaruError("bad_request", "not JSON: a circular structure, or a BigInt");
  }
  return whole ? null : new MaruError("bad_request", "a text holds half of a surrogate pair");
}

/** A new key for a send. `randomUUID` exists on https and localhost only; `getRandomValues` everywhere. */
export function newKey(source = globalThis.crypto) {
  if (source.randomUUID) return source.randomUUID();
  const bytes = source.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * @param {Partial<typeof DEFAULTS> & {io: Function, getToken: () => Promise<string>|string}} options
 *   `getToken` gives a token that is valid now; it is called again when one is refused or about to expire. An
 *   error it throws is retried, unless it says `retryable: false`.
 */
export function createMaru(options) {
  return new Maru(options);
}

export class Maru {
  /** @type {State} */ state = "signed-out";
  /** @type {MaruError|null} why the state is what it is, where there is a reason */ error = null;
  /** @type {any} the last session:ready: user, session, expires_at, limits, ... */ session = null;

  #options;
  /** @type {Map<string, Set<Function>>} */ #listeners = new Map();
  /** @type {Map<string, Subscription>} */ #channels = new Map();
  /** @type {Map<string, {queue: string[], notBefore: number, timer: any}>} */ #lanes = new Map();
  /** @type {Map<string, Pending>} */ #outbox = new Map();
  /** @type {Link|null} the connection, or the attempt at one */ #link = null;
  /** @type {Link|null} the next one, while this one is drained */ #heir = null;
  /** @type {Set<Link>} those that have an heir and still owe answers */ #retired = new Set();
  /** @type {{value: string, fresh: boolean, expiresAt: number}|null} */ #token = null;
  /** @type {MaruError|null} */ #terminated = null;
  /** @type {any} */ #retryTimer = null;
  #attempt = 0; // a number per attempt: what an older one still brings is void
  #failures = 0;
  #refusals = 0;
  #readyAt = 0;
  #tries = 0; // at an heir

  /** @param {Parameters<typeof createMaru>[0]} options */
  constructor(options) {
    if (typeof options?.io !== "function") throw new TypeError("createMaru needs `io` of socket.io-client");
    if (typeof options.getToken !== "function") throw new TypeError("createMaru needs `getToken()`");
    this.#options = { ...DEFAULTS, ...options };
  }

  /**
   * Events: `state` {state, error} · `ready` (the session) · `event` (a log event, in order, once) · `reset`
   * {channel, reason, epoch, offset}: what is known of the channel has a hole, read its history · `removed`
   * {channel, code}: the server took the session out of it.
   * @param {string} name @param {(value: any) => void} listener
   * @returns {() => void} takes the listener off again
   */
  on(name, listener) {
    const set = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, set.add(listener));
    return () => void set.delete(listener);
  }

  /** Starts, and starts again after "signed-out". Returns at once; the `state` event tells the rest. */
  connect() {
    if (this.state !== "signed-out") return;
    this.#failures = this.#refusals = this.#readyAt = 0;
    this.session = null;
    this.#setState("connecting", null);
    this.#begin();
  }

  /** Tries now instead of at the end of the backoff: for the browser's `online` event, or a button. */
  retryNow() {
    if (this.#retryTimer === null) return;
    this.#options.timers.clear(this.#retryTimer);
    this.#begin();
  }

  /** Ends the session: unanswered sends and joins fail with `closed`. Positions are kept for `connect`. */
  close() {
    this.#stop(new MaruError("closed", "closed by the application"));
  }

  /** The last event seen of each joined channel. @returns {Record<string, Position>} */
  positions() {
    /** @type {Record<string, Position>} */
    const known = {};
    for (const { channel, position } of this.#channels.values()) if (position) known[channel] = position;
    return known;
  }

  /**
   * Joins as soon as there is a connection, and stays joined over reconnects until `leave` or `removed`.
   * @param {string} channel
   * @param {{history?: number, since?: Position}} [options] the last N events, or all after a kept position
   * @returns {Promise<{channel: string, epoch: string, offset: number}>}
   */
  join(channel, { history, since } = {}) {
    let entry = this.#channels.get(channel);
    if (!entry) {
      const position = since ?? null;
      entry = { channel, position, history, live: false, joining: false, attempts: 0, held: [], waiters: [] };
      this.#channels.set(channel, entry);
    }
    const known = entry;
    if (known.live) return Promise.resolve({ channel, .../** @type {Position} */ (known.position) });
    return new Promise((resolve, reject) => {
      known.waiters.push({ resolve, reject });
      if (this.state === "online") this.#joinNow(known);
    });
  }

  /** @param {string} channel @returns {Promise<void>} */
  async leave(channel) {
    const entry = this.#channels.get(channel);
    if (!entry) return;
    this.#forget(entry, new MaruError("closed", `left ${channel} before it was joined`));
    this.#heir?.resumed.delete(channel);
    if (this.#heir?.socket.connected) this.#command("channel:leave", { channel }, this.#heir).catch(() => {});
    if (this.#link?.socket.connected) await this.#command("channel:leave", { channel });
  }

  /**
   * Puts a message into the outbox. Resolves when it is in the log; rejects when it can not get there.
   * Repeating a failed send with its `key` never makes two messages.
   * @param {string} channel @param {string} text
   * @param {{key?: string, data?: object, replyTo?: string}} [options]
   * @returns {Promise<{message: any, epoch: string, offset: number, duplicate: boolean}>}
   */
  send(channel, text, { key = newKey(), data, replyTo } = {}) {
    const known = this.#outbox.get(key);
    if (known) return known.promise;
    if (this.state === "signed-out") return Promise.reject(this.error ?? new MaruError("closed"));
    if (this.#outbox.size >= this.#options.outboxLimit) {
      const message = `${this.#outbox.size} messages wait for the server already`;
      return Promise.reject(new MaruError("outbox_full", message));
    }
    const payload = { channel, text, data, reply_to: replyTo, key };
    const pending = /** @type {any} */ ({ payload, since: this.#now(), attempts: 0, flight: null });
    pending.promise = new Promise((resolve, reject) => Object.assign(pending, { resolve, reject }));
    this.#outbox.set(key, pending);
    const lane = this.#lanes.get(channel) ?? { queue: [], notBefore: 0, timer: null };
    lane.queue.push(key);
    this.#lanes.set(channel, lane);
    this.#flush(channel);
    return pending.promise;
  }

  /** @param {string} channel @param {string} id @param {string} text @param {object} [data] */
  edit(channel, id, text, data) {
    return this.#command("message:edit", { channel, id, text, data });
  }

  /** @param {string} channel @param {string} id */
  remove(channel, id) {
    return this.#command("message:delete", { channel, id });
  }

  /**
   * Messages in their current state, oldest first. @param {string} channel
   * @param {{before?: number, after?: number, limit?: number}} [page] `before` and `after` are exclusive
   * @returns {Promise<{messages: any[], epoch: string, offset: number, more: boolean}>}
   */
  history(channel, page = {}) {
    return this.#command("history:read", { channel, ...page });
  }

  // --- the connection --------------------------------------------------------------------------------------

  async #begin() {
    const attempt = ++this.#attempt;
    this.#retryTimer = null;
    try {
      const token = await this.#takeToken();
      if (attempt === this.#attempt) this.#open(token);
    } catch (cause) {
      if (attempt === this.#attempt) this.#lost(tokenError(cause));
    }
  }

  async #takeToken() {
    if (this.#token && this.#token.expiresAt > this.#now()) {
      this.#token.fresh = false;
    } else {
      this.#token = { value: await this.#fetchToken(), fresh: true, expiresAt: Infinity };
    }
    return this.#token.value;
  }

  /** The application's `getToken`, with a deadline. @returns {Promise<string>} */
  #fetchToken() {
    return new Promise((resolve, reject) => {
      const late = transient("token_unavailable", "no token in time");
      const timer = this.#options.timers.set(() => reject(late), this.#options.connectTimeoutMs);
      const got = new Promise((start) => start(this.#options.getToken()));
      got.then(resolve, reject).finally(() => this.#options.timers.clear(timer));
    });
  }

  /** @param {string} token */
  #open(token) {
    this.#terminated = null;
    this.#link = this.#dial(token);
  }

  /** Opens a socket of its own, and listens for as long as it is the connection or its heir. @param {string} token */
  #dial(token) {
    const socket = this.#options.io(`${this.#options.url}/chat`, {
      transports: ["websocket"],
      forceNew: true,
      reconnection: false,
      timeout: this.#options.connectTimeoutMs,
      auth: (/** @type {Function} */ give) => give({ token, resume: this.#resume() }),
    });
    const link = /** @type {Link} */ ({ socket, timers: new Set(), resumed: new Set(), unanswered: 0, moveAt: null });
    const late = transient("timeout", "no session:ready in time");
    link.deadline = this.#after(this.#options.connectTimeoutMs, () => this.#ended(link, late), link);
    const on = (/** @type {string} */ name, /** @type {(value: any) => void} */ react) =>
      socket.on(name, (/** @type {any} */ value) => {
        if (link === this.#link || link === this.#heir) react(value);
      });
    on("connect_error", (error) => this.#ended(link, connectError(error)));
    on("disconnect", (reason) => this.#ended(link, disconnectError(reason)));
    on("session:terminated", (why) => link === this.#link && (this.#terminated = MaruError.from(why)));
    on("session:draining", (plan) => this.#drained(link, plan));
    on("session:expiring", () => (link === this.#link ? this.#refreshToken(0) : (link.expiring = true)));
    on("session:ready", (session) => this.#ready(link, session));
    on("channel:resumed", (reply) => this.#resumed(link, reply));
    on("channel:removed", (gone) => this.#removed(link, gone));
    for (const event of LOG_EVENTS) on(event, (value) => this.#receive({ event, ...value }));
    return link;
  }

  /** @param {Link} link @param {MaruError} error */
  #ended(link, error) {
    if (link !== this.#heir) return this.#lost(this.#terminated ?? error);
    if (TOKEN_REFUSED.has(error.code)) this.#token = null;
    this.#heirFailed();
  }

  #resume() {
    let room = RESUME_CHARS;
    const known = Object.entries(this.positions()).slice(0, RESUME_LIMIT);
    return Object.fromEntries(known.filter((entry) => (room -= JSON.stringify(entry).length) >= 0));
  }

  /** @param {Link} link @param {any} session */
  #ready(link, session) {
    if (link === this.#heir) this.#inherit();
    this.#unschedule(link, link.deadline);
    this.session = session;
    this.#readyAt = this.#now();
    this.#refusals = 0;
    this.#rememberToken(this.#token?.value ?? "", session.expires_at);
    this.#setState("online", null);
    this.#emit("ready", session);
    for (const entry of this.#channels.values()) if (!entry.live) this.#joinNow(entry);
    for (const channel of this.#lanes.keys()) this.#flush(channel);
    if (link.expiring) this.#refreshToken(0);
    if (link.moveAt !== null) this.#move(link.moveAt);
  }

  // --- the heir ----------------------------------------------------------------------------------------------

  /** The server stops: be elsewhere by then. @param {Link} link @param {{reconnect_in_ms?: number}} plan */
  #drained(link, plan) {
    const at = this.#now() + (plan?.reconnect_in_ms ?? 0);
    if (link === this.#link) this.#move(at);
    else link.moveAt = at; // an heir has one of its own once it is the connection
  }

  /** @param {number} at when to open the next connection */
  #move(at) {
    this.#after(Math.max(0, at - this.#now()), () => this.#beget(0));
  }

  /** Opens the next connection beside this one. @param {number} tries so many have failed */
  async #beget(tries) {
    const link = this.#link;
    try {
      const token = await this.#takeToken();
      if (this.#link !== link || this.#heir) return;
      this.#tries = tries;
      this.#heir = this.#dial(token);
    } catch {
      if (this.#link === link) this.#begetLater(tries); // no token: this connection lasts a little longer
    }
  }

  /** Nothing is lost: this connection goes on, and the next one is tried again. */
  #heirFailed() {
    const heir = this.#heir;
    this.#heir = null;
    if (heir) this.#hangUp(heir);
    this.#begetLater(this.#tries);
  }

  /** @param {number} tries */
  #begetLater(tries) {
    const wait = HEIR_RETRY_MS * 2 ** Math.min(tries, 4) * (0.5 + this.#options.random());
    this.#after(wait, () => this.#beget(tries + 1));
  }

  /** The heir is the connection from here on; the old one stays for the answers that it owes. */
  #inherit() {
    const old = /** @type {Link} */ (this.#link);
    this.#clear(old);
    this.#retired.add(old);
    this.#after(RETIRE_MS, () => this.#retire(old), old);
    this.#succeed();
    if (old.unanswered === 0) this.#retire(old);
  }

  /** Makes the heir the connection: what it has resumed is live, the rest is to be joined. */
  #succeed() {
    const link = /** @type {Link} */ (this.#heir);
    this.#link = link;
    this.#heir = null;
    this.#terminated = null;
    for (const entry of this.#channels.values()) {
      Object.assign(entry, { live: false, joining: false });
      if (link.resumed.has(entry.channel)) this.#live(entry);
    }
  }

  /** @param {Link} link */
  #retire(link) {
    this.#retired.delete(link);
    this.#hangUp(link);
  }

  /** @param {Link} link */
  #hangUp(link) {
    this.#clear(link);
    link.socket.disconnect();
  }

  /** The attempt or the connection is over: whether, and when, to try again. @param {MaruError} error */
  #lost(error) {
    if (this.#heir && error.retryable) return this.#orphaned(error);
    this.#drop();
    if (TOKEN_REFUSED.has(error.code)) {
      // A token from the cache may be too old, or of before a change of keys: a new one deserves a try.
      const fresh = this.#token?.fresh;
      const hopeless = fresh && (error.code === "unauthenticated" || ++this.#refusals >= REFUSALS_LIMIT);
      this.#token = null;
      if (hopeless) return this.#stop(error);
    } else if (!error.retryable) {
      return this.#stop(error);
    }
    const steady = this.#readyAt > 0 && this.#now() - this.#readyAt >= STEADY_MS;
    this.#failures = steady ? 0 : this.#failures + 1;
    if (this.#failures >= OFFLINE_AFTER) this.#setState("offline", error);
    else this.#setState(this.session ? "reconnecting" : "connecting", error);
    this.#readyAt = 0;
    const wait = error.retryAfterMs > 0 ? error.retryAfterMs : this.#backoff(Math.max(0, this.#failures - 1));
    this.#retryTimer = this.#options.timers.set(() => this.#begin(), wait);
  }

  /** The connection went before its heir was ready: that one is the attempt now. @param {MaruError} error */
  #orphaned(error) {
    const old = /** @type {Link} */ (this.#link);
    for (const pending of this.#outbox.values()) pending.flight = null;
    this.#succeed();
    this.#hangUp(old);
    this.#setState("reconnecting", error);
  }

  #drop() {
    const links = [this.#link, this.#heir, ...this.#retired];
    this.#link = this.#heir = null; // first: what the dying sockets still say is void
    this.#retired.clear();
    this.#attempt += 1;
    for (const pending of this.#outbox.values()) pending.flight = null;
    for (const entry of this.#channels.values()) {
      Object.assign(entry, { live: false, joining: false, held: [] });
    }
    for (const link of links) if (link) this.#hangUp(link);
  }

  /** @param {MaruError} error */
  #stop(error) {
    this.#drop();
    this.#options.timers.clear(this.#retryTimer);
    this.#retryTimer = this.#token = null;
    this.#setState("signed-out", error);
    for (const key of [...this.#outbox.keys()]) this.#settle(key, error);
    for (const { waiters } of this.#channels.values()) {
      for (const { reject } of waiters.splice(0)) reject(error);
    }
  }

  /** @param {number} tries */
  async #refreshToken(tries) {
    const link = this.#link;
    try {
      const token = await this.#fetchToken();
      if (this.#link !== link) return;
      const { expires_at: expiresAt } = await this.#command("auth:refresh", { token });
      this.#rememberToken(token, expiresAt);
    } catch {
      // Out of tries, the server ends the session at its hour, and the next attempt starts with a new token.
      if (this.#link !== link || tries >= REFRESH_TRIES) return;
      this.#after(this.#backoff(tries), () => this.#refreshToken(tries + 1));
    }
  }

  /** The server took it: good for the next connection too. @param {string} value @param {string} expiresAt */
  #rememberToken(value, expiresAt) {
    this.#token = { value, fresh: false, expiresAt: Date.parse(expiresAt) || Infinity };
  }

  // --- channels --------------------------------------------------------------------------------------------

  /** @param {Subscription} entry */
  async #joinNow(entry) {
    if (entry.joining || this.#channels.get(entry.channel) !== entry) return;
    const link = this.#link;
    const { channel, position: since, history } = entry;
    Object.assign(entry, { live: false, joining: true });
    const current = () => this.#link === link && this.#channels.get(channel) === entry;
    try {
      const ack = await this.#command("channel:join", since ? { channel, since } : { channel, history });
      if (current()) this.#adopt(entry, ack);
    } catch (error) {
      if (!current()) return; // the next connection joins it, or nobody wants it any more
      entry.joining = false;
      if (!(error instanceof MaruError) || !error.retryable) return this.#forget(entry, error);
      this.#rejoinLater(entry, error.retryAfterMs);
    }
  }

  /** @param {Subscription} entry @param {number} [atLeastMs] */
  #rejoinLater(entry, atLeastMs = 0) {
    entry.live = false;
    const wait = Math.max(atLeastMs, this.#backoff(entry.attempts++));
    this.#after(wait, () => void (entry.live || this.#joinNow(entry)));
  }

  /** What channel:join and channel:resumed have in common. @param {Subscription} entry @param {any} reply */
  #adopt(entry, reply) {
    this.#catchUp(entry, reply);
    this.#live(entry);
  }

  /** @param {Subscription} entry @param {any} reply */
  #catchUp(entry, { epoch, offset, recovered, reason, events = [] }) {
    const { channel } = entry;
    if (recovered !== true) entry.position = { epoch, offset: 0 };
    if (recovered === false) this.#emit("reset", { channel, reason, epoch, offset });
    for (const event of events) this.#apply(entry, event);
    // Where two connections bring the channel, the other one may be further.
    const { position } = entry;
    if (position?.epoch !== epoch || position.offset < offset) entry.position = { epoch, offset };
  }

  /** @param {Subscription} entry at a position from which on its events come */
  #live(entry) {
    const { channel } = entry;
    Object.assign(entry, { live: true, joining: false, attempts: 0 });
    const place = /** @type {Position} */ (entry.position);
    for (const { resolve } of entry.waiters.splice(0)) resolve({ channel, ...place });
    for (const event of entry.held.splice(0)) this.#receive(event);
  }

  /** @param {Link} link @param {any} reply */
  #resumed(link, reply) {
    const { channel } = reply;
    const entry = this.#channels.get(channel);
    // Left while the CONNECT was on its way. Where this fails, the next connection does not name the channel.
    if (!entry) return void this.#command("channel:leave", { channel }, link).catch(() => {});
    if (!entry.position) return; // joined again meanwhile, which is yet to be done
    if (link === this.#link) return this.#adopt(entry, reply);
    this.#catchUp(entry, reply);
    link.resumed.add(channel);
  }

  /** @param {Link} link @param {{channel: string, code: string}} gone */
  #removed(link, { channel, code }) {
    const entry = this.#channels.get(channel);
    if (entry && TRANSIENT.has(code)) return void (link === this.#link && this.#rejoinLater(entry));
    if (entry) this.#forget(entry, new MaruError(code, `no longer in ${channel}`));
    this.#emit("removed", { channel, code });
  }

  /** @param {Subscription} entry @param {any} error */
  #forget(entry, error) {
    this.#channels.delete(entry.channel);
    for (const { reject } of entry.waiters.splice(0)) reject(error);
  }

  /** @param {LogEvent} event */
  #receive(event) {
    const entry = this.#channels.get(event.channel);
    if (!entry) return;
    if (!entry.live) {
      if (entry.held.push(event) > HELD_LIMIT) entry.held.shift();
      return;
    }
    const { epoch, offset } = /** @type {Position} */ (entry.position);
    if (event.epoch === epoch && event.offset <= offset + 1) this.#apply(entry, event);
    else this.#joinNow(entry); // a gap, or another log: the answer brings this event too
  }

  /** @param {Subscription} entry @param {LogEvent} event */
  #apply(entry, event) {
    if (event.offset <= /** @type {Position} */ (entry.position).offset) return;
    entry.position = { epoch: event.epoch, offset: event.offset };
    this.#emit("event", event);
  }

  // --- the outbox ------------------------------------------------------------------------------------------

  /** Sends what may go now, oldest first. @param {string} channel */
  #flush(channel) {
    const lane = this.#lanes.get(channel);
    if (!lane || this.state !== "online" || lane.notBefore > this.#now()) return;
    const next = lane.queue.slice(0, this.#options.inFlight);
    const pendings = next.map((key) => /** @type {Pending} */ (this.#outbox.get(key)));
    // What a retired connection still has to answer comes first, or is sent again first.
    if (pendings.some(({ flight }) => flight && flight.link !== this.#link)) return;
    next.forEach((key, index) => pendings[index].flight ?? this.#fly(channel, key, pendings[index]));
  }

  /** @param {string} channel @param {string} key @param {Pending} pending */
  async #fly(channel, key, pending) {
    const flight = (pending.flight = { link: this.#link });
    pending.attempts += 1;
    try {
      if (this.#now() - pending.since > KEY_LIFE_MS) {
        throw new MaruError("key_expired", "too old to be retried without the risk of doubling it");
      }
      this.#settle(key, null, await this.#command("message:send", pending.payload));
    } catch (error) {
      if (pending.flight !== flight) return; // the connection went: session:ready sends it again
      pending.flight = null;
      if (!(error instanceof MaruError) || !error.retryable) return this.#settle(key, error);
      if (flight.link !== this.#link) return this.#flush(channel); // its connection was retired: again, over its heir
      const lane = this.#lanes.get(channel);
      if (!lane) return;
      const wait = Math.max(error.retryAfterMs, this.#backoff(pending.attempts - 1));
      lane.notBefore = Math.max(lane.notBefore, this.#now() + wait);
      this.#options.timers.clear(lane.timer);
      lane.timer = this.#options.timers.set(() => {
        lane.notBefore = 0; // the pause is over, also where the clock disagrees by a fraction with the timer
        this.#flush(channel);
      }, lane.notBefore - this.#now());
    }
  }

  /** @param {string} key @param {any} error @param {any} [ack] */
  #settle(key, error, ack) {
    const pending = this.#outbox.get(key);
    if (!pending) return;
    const { channel } = /** @type {{channel: string}} */ (pending.payload);
    const lane = /** @type {{queue: string[], timer: any}} */ (this.#lanes.get(channel));
    this.#outbox.delete(key);
    lane.queue.splice(lane.queue.indexOf(key), 1);
    if (lane.queue.length === 0) {
      this.#options.timers.clear(lane.timer);
      this.#lanes.delete(channel);
    }
    if (error) pending.reject(error);
    else pending.resolve(ack);
    this.#flush(channel);
  }

  // --- small things ----------------------------------------------------------------------------------------

  /**
   * One command, one answer; emitted only while connected, so never in socket.io's buffer.
   * @param {string} event @param {object} data @param {Link|null} [link] @returns {Promise<any>}
   */
  #command(event, data, link = this.#link) {
    if (!link?.socket.connected) return Promise.reject(transient("offline", "not connected"));
    const fault = unsendable(data, this.session?.limits?.payload_bytes ?? PAYLOAD_BYTES);
    if (fault) return Promise.reject(fault);
    const { socket } = link;
    link.unanswered += 1;
    return new Promise((resolve, reject) => {
      const answered = (/** @type {any} */ error, /** @type {any} */ ack) => {
        link.unanswered -= 1;
        if (error && !socket.connected) reject(transient("offline", "the connection was lost"));
        else if (error) reject(transient("timeout", `no answer to ${event}`));
        else if (ack?.ok) resolve(ack);
        else reject(MaruError.from(ack?.error));
        if (link.unanswered === 0 && this.#retired.has(link)) this.#retire(link);
      };
      socket.timeout(this.#options.ackTimeoutMs).emit(event, data, answered);
    });
  }

  /** @param {State} state @param {MaruError|null} error */
  #setState(state, error) {
    if (this.state === state && this.error === error) return;
    Object.assign(this, { state, error });
    this.#emit("state", { state, error });
  }

  /** A listener that throws must not cost the others an event. @param {string} name @param {any} value */
  #emit(name, value) {
    for (const listener of [...(this.#listeners.get(name) ?? [])]) {
      try {
        listener(value);
      } catch (error) {
        this.#options.report(error);
      }
    }
  }

  #now() {
    return this.#options.timers.now();
  }

  /** Doubling, capped, spread by half to either side. @param {number} failures */
  #backoff(failures) {
    const { backoffMinMs, backoffMaxMs, random } = this.#options;
    return Math.min(backoffMaxMs, backoffMinMs * 2 ** Math.min(failures, 16)) * (0.5 + random());
  }

  /** A timer that ends with the connection. @param {number} ms @param {() => void} run @param {Link|null} [link] */
  #after(ms, run, link = this.#link) {
    if (!link) return null;
    const timer = this.#options.timers.set(() => {
      link.timers.delete(timer);
      run();
    }, ms);
    link.timers.add(timer);
    return timer;
  }

  /** @param {Link} link @param {any} timer */
  #unschedule(link, timer) {
    link.timers.delete(timer);
    this.#options.timers.clear(timer);
  }

  /** @param {Link} link */
  #clear(link) {
    for (const timer of link.timers) this.#options.timers.clear(timer);
    link.timers.clear();
  }
}

/** @param {string} code @param {string} message */
function transient(code, message) {
  return new MaruError(code, message, { retryable: true });
}

/** CONNECT_ERROR carries `data` with a code; anything else is the network. @param {any} error */
function connectError(error) {
  if (error?.data?.code) return MaruError.from(error.data);
  return transient("offline", "the server can not be reached");
}

/** @param {string} reason socket.io's; its DISCONNECT without a word means: do not come back */
function disconnectError(reason) {
  if (reason === "io server disconnect") return new MaruError("terminated", "ended by the server");
  return transient("offline", "the connection was lost");
}

/** @param {any} cause */
function tokenError(cause) {
  if (cause instanceof MaruError) return cause;
  const retryable = cause?.retryable !== false;
  return new MaruError("token_unavailable", String(cause?.message ?? cause), { retryable });
}
