/**
 * The session: one connection after another, until the application closes it or the server refuses it for good.
 *
 * @typedef {import("./types.js").State} State
 * @typedef {{
 *   start: (connection: Connection) => object,
 *   heard: (connection: Connection, name: string, value: any) => void,
 *   state: (state: State, error: MaruError|null) => void,
 *   ready: (session: any) => void,
 *   promoted: (connection: Connection) => void,
 *   answersLost: (isLoss: boolean) => void,
 *   dropped: () => void,
 *   stopped: (error: MaruError) => void,
 * }} Hooks
 *   `start` gives what CONNECT says beside the token. `heard`: an event of a channel. `state`: the state has changed.
 *   `ready`: commands can be sent. `promoted`: a replacement is the current connection now. `answersLost`: sends in
 *   flight get no answer; `isLoss`: neither side has said why. `dropped`: there is no connection any more.
 *   `stopped`: there will be none.
 */

import { Connection } from "./connection.js";
import { MaruError, TOKEN_REFUSED, transient } from "./errors.js";
import { Handover } from "./handover.js";
import { backoff } from "./options.js";
import { PAYLOAD_BYTES, plainOf } from "./payload.js";
import { tokenError, TokenSource } from "./tokens.js";

const STEADY_MS = 5_000; // a connection that lasted this long ends the row of failures
const OFFLINE_AFTER = 3; // failed attempts in a row before "reconnecting" is called "offline"
const REFRESH_TRIES = 8; // with a backoff before each they fill the 60 s between session:expiring and the end
const RENEWABLE = "token_expired"; // the only code of session:terminated that a new token answers: others are meant

export class Session {
  /** @type {State} */ state = "signed-out";
  /** @type {MaruError|null} the reason of the state, if there is one */ error = null;
  /** @type {any} the last session:ready */ info = null;
  /** @type {Connection|null} the connection in use, or the attempt at one */ current = null;

  #options;
  #hooks;
  #tokens;
  #handover;
  /** @type {any} runs during the pause before the next attempt */ #retryTimer = null;
  #attempt = 0; // number of the attempt that waits for its token; an older one must not open a connection
  #failures = 0; // attempts that failed, in a row
  #readyAt = 0; // when the current connection had its session:ready; 0: it has not

  /** @param {import("./options.js").Options} options @param {Hooks} hooks */
  constructor(options, hooks) {
    this.#options = options;
    this.#hooks = hooks;
    this.#tokens = new TokenSource(options);
    this.#handover = new Handover(options, this.#tokens, (token) => this.#dial(token));
  }

  /** @returns {Connection|null} the connection that is opened to replace the current one */
  get replacement() {
    return this.#handover.replacement;
  }

  /** Starts. Does nothing unless the state is "signed-out". @param {Promise<void>|void} begun before the first attempt */
  connect(begun) {
    if (this.state !== "signed-out") return;
    this.#failures = this.#readyAt = 0;
    this.info = null;
    this.#setState("connecting", null);
    this.#begin(begun);
  }

  /** Ends the pause before the next attempt, if there is one. */
  retryNow() {
    if (this.#retryTimer === null) return;
    this.#options.timers.clear(this.#retryTimer);
    this.#begin();
  }

  /** Ends the session. @param {MaruError} error the reason */
  stop(error) {
    this.#drop(false);
    this.#options.timers.clear(this.#retryTimer);
    this.#retryTimer = null;
    this.#tokens.reset();
    this.#setState("signed-out", error);
    this.#hooks.stopped(error);
  }

  /**
   * Sends one command; rejects at once if there is no connection, so that socket.io buffers nothing.
   * @param {string} event @param {object} data @returns {Promise<any>} the ack
   */
  async command(event, data, connection = this.current) {
    if (!connection?.connected) throw transient("offline", "not connected");
    return connection.command(event, plainOf(data, this.payloadBytes));
  }

  /** The largest frame that the server takes. */
  get payloadBytes() {
    return this.info?.limits?.payload_bytes ?? PAYLOAD_BYTES;
  }

  /** @param {Promise<void>|void} [begun] */
  async #begin(begun) {
    const attempt = ++this.#attempt;
    this.#retryTimer = null;
    if (begun) await begun;
    if (attempt !== this.#attempt) return;
    try {
      const token = await this.#tokens.take();
      if (attempt === this.#attempt) this.current = this.#dial(token);
    } catch (cause) {
      if (attempt === this.#attempt) this.#lost(tokenError(cause));
    }
  }

  /** @param {string} token */
  #dial(token) {
    return new Connection(token, this.#options, {
      start: this.#hooks.start,
      heard: (connection, name, value) => this.#heard(connection, name, value),
      ended: (connection, error) => this.#ended(connection, error),
    });
  }

  /** @param {Connection} connection @param {string} name @param {any} value */
  #heard(connection, name, value) {
    const isCurrent = connection === this.current;
    switch (name) {
      case "session:ready":
        return this.#ready(connection, value);
      case "session:terminated":
        if (isCurrent) connection.terminated = MaruError.from(value);
        return;
      case "session:draining":
        return this.#draining(connection, this.#options.timers.now() + (value?.reconnect_in_ms ?? 0));
      case "session:expiring":
        return this.#expiring(connection, value?.reason === "refresh");
      default:
        this.#hooks.heard(connection, name, value);
    }
  }

  /** @param {Connection} connection @param {number} moveAt when its server wants it replaced */
  #draining(connection, moveAt) {
    if (connection === this.current) this.#handover.schedule(connection, moveAt);
    else connection.moveAt = moveAt;
  }

  /**
   * The token has to be renewed: at once, if the connection is in use.
   * @param {Connection} connection @param {boolean} isOutdated what the token says is no longer so: no connection that
   *   is opened from now on should bring it, and one that is being opened needs another
   */
  #expiring(connection, isOutdated) {
    if (isOutdated) this.#tokens.drop();
    if (isOutdated && this.replacement) this.replacement.expiring = true;
    if (connection === this.current) this.#refreshToken(connection, 0);
    else connection.expiring = true;
  }

  /** @param {Connection} connection @param {any} info */
  #ready(connection, info) {
    if (connection === this.replacement) this.#switchOver();
    if (connection.over) return; // closed by a listener that got an event in the switch
    connection.ready();
    this.info = info;
    this.#readyAt = this.#options.timers.now();
    this.#tokens.accepted(info.expires_at);
    this.#setState("online", null);
    if (connection.over) return; // closed by a listener of the state
    this.#hooks.ready(info);
    if (connection.expiring) this.#refreshToken(connection, 0);
    if (connection.moveAt !== null) this.#handover.schedule(connection, connection.moveAt);
  }

  /** Uses the replacement from now on; the old connection stays until it has answered all commands. */
  #switchOver() {
    this.#handover.retire(/** @type {Connection} */ (this.current));
    this.#promote();
  }

  #promote() {
    this.current = this.#handover.take();
    this.#hooks.promoted(this.current);
  }

  /** @param {Connection} connection @param {MaruError} error */
  #ended(connection, error) {
    if (connection !== this.current) return this.#handover.failed(/** @type {Connection} */ (this.current), error);
    const { terminated } = connection;
    if (terminated && !terminated.retryable && terminated.code !== RENEWABLE) this.stop(terminated);
    else this.#lost(terminated ?? error);
  }

  /** The attempt has failed, or the connection is lost: tries again, or stops. @param {MaruError} error */
  #lost(error) {
    if (this.replacement && error.retryable) return this.#lostBeforeSwitch(error);
    this.#drop(isLoss(error));
    const again = TOKEN_REFUSED.has(error.code) ? this.#tokens.refused(error.code) : error.retryable;
    if (!again) return this.stop(error);
    const { timers } = this.#options;
    const steady = this.#readyAt > 0 && timers.now() - this.#readyAt >= STEADY_MS;
    this.#failures = steady ? 0 : this.#failures + 1;
    this.#readyAt = 0;
    const { retryAfterMs } = error;
    const wait = retryAfterMs > 0 ? retryAfterMs : backoff(this.#options, Math.max(0, this.#failures - 1));
    this.#retryTimer = timers.set(() => this.#begin(), wait); // first: a listener of the state may close the session
    if (this.#failures >= OFFLINE_AFTER) this.#setState("offline", error);
    else this.#setState(this.info ? "reconnecting" : "connecting", error);
  }

  /**
   * The connection is lost before its replacement is ready: the replacement is the next attempt.
   * @param {MaruError} error
   */
  #lostBeforeSwitch(error) {
    const old = /** @type {Connection} */ (this.current);
    this.#hooks.answersLost(isLoss(error));
    this.#promote();
    old.close();
    if (this.current) this.#setState("reconnecting", error); // else a listener of an event has closed the session
  }

  /** Closes every connection, and voids the attempt that waits for its token. @param {boolean} isLoss */
  #drop(isLoss) {
    const old = this.current;
    this.current = null;
    this.#attempt += 1;
    this.#hooks.answersLost(isLoss);
    this.#hooks.dropped();
    old?.close();
    this.#handover.close();
  }

  /** Renews the token of the session, in-band. @param {Connection} connection @param {number} failures */
  async #refreshToken(connection, failures) {
    try {
      const token = await this.#tokens.fetch();
      if (connection !== this.current) return;
      const { expires_at: expiresAt } = await this.command("auth:refresh", { token });
      this.#tokens.renewed(token, expiresAt);
    } catch (cause) {
      // After the last try the server ends the session, and the next attempt starts with a new token.
      if (connection.over || failures >= REFRESH_TRIES) return;
      const atLeastMs = cause instanceof MaruError ? cause.retryAfterMs : 0;
      const wait = Math.max(atLeastMs, backoff(this.#options, failures));
      connection.after(wait, () => this.#refreshToken(connection, failures + 1));
    }
  }

  /** @param {State} state @param {MaruError|null} error */
  #setState(state, error) {
    if (this.state === state && this.error === error) return;
    Object.assign(this, { state, error });
    this.#hooks.state(state, error);
  }
}

/** Whether a connection has ended without a reason of the server or of the application. @param {MaruError} error */
function isLoss(error) {
  return error.code === "offline";
}
