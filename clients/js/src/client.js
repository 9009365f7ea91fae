/** The client without its commands: its parts, wired; connecting, joining, and telling the application. */

import { Channels } from "./channels.js";
import { Emitter, OF_CLIENT } from "./emitter.js";
import { MaruError } from "./errors.js";
import { Links } from "./links.js";
import { DEFAULTS, origin } from "./options.js";
import { Outbox } from "./outbox.js";
import { People } from "./people.js";
import { Persistence } from "./persistence.js";
import { Session } from "./session.js";

const HISTORY_TRIES = 3; // of a join beside another: each on another connection

/**
 * @typedef {import("./types.js").Events} Events
 * @typedef {import("./types.js").Position} Position
 */

export class Client {
  /** @type {import("./options.js").Options} @internal */ options;
  /** @type {Session} @internal */ sessions;
  /** @type {Outbox} @internal */ outbox;
  /** @type {Channels} */ #channels;
  /** @type {Emitter<Events>} */ #emitter;
  /** @type {Persistence|null} */ #persistence = null;
  #links = new Links();

  /** @param {import("./index.js").MaruOptions} options */
  constructor(options) {
    if (typeof options?.io !== "function") throw new TypeError("createMaru needs `io` of socket.io-client");
    if (typeof options.getToken !== "function") throw new TypeError("createMaru needs `getToken()`");
    this.options = { ...DEFAULTS, ...options };
    this.options.url = origin(this.options.url);
    const { report, storage } = this.options;
    this.#emitter = new Emitter(OF_CLIENT, report);
    const emit = (/** @type {string} */ name, /** @type {any} */ value) => this.#emit(name, value);
    this.sessions = new Session(this.options, {
      start: (connection) => this.#startOf(connection),
      heard: (connection, name, value) => {
        if (name === "inbox:state") emit("inbox", value);
        else this.#channels.heard(connection, name, value);
      },
      state: (state, error) => {
        this.options.log({ event: "state", state, code: error?.code });
        emit("state", { state, error });
      },
      ready: (session) => this.#ready(session),
      promoted: (connection) => this.#channels.promoted(connection),
      answersLost: (isLoss) => this.outbox.answersLost(isLoss),
      dropped: () => this.#channels.dropped(),
      stopped: (error) => {
        this.outbox.stopped(error);
        this.#channels.stopped(error);
        this.#persistence?.end();
      },
    });
    this.#channels = new Channels(this.sessions, this.options, emit, (subscription) => this.#peopleOf(subscription));
    if (storage) {
      this.#persistence = new Persistence(storage, this.options, {
        restored: (kept) => this.outbox.restore(kept),
        began: (positions) => this.#channels.begin(positions),
      });
    }
    this.outbox = new Outbox(this.sessions, this.options, emit, this.#persistence);
  }

  get state() {
    return this.sessions.state;
  }

  /** The reason of the state, if there is one. */
  get error() {
    return this.sessions.error;
  }

  /** The last session:ready: user, session, expires_at, limits, ... */
  get session() {
    return this.sessions.info;
  }

  /**
   * Calls `listener` for each event of a name, of which `Events` tells.
   * @template {keyof Events} Name
   * @param {Name} name @param {(value: Events[Name]) => void} listener
   * @returns {() => void} takes the listener off again
   */
  on(name, listener) {
    return this.#emitter.on(name, listener);
  }

  /** Starts, and starts again after "signed-out". Returns at once; the `state` event tells the rest. */
  connect() {
    if (this.state === "signed-out") this.sessions.connect(this.#persistence?.begin());
  }

  /** Tries now instead of at the end of the backoff: for the browser's `online` event, or a button. */
  retryNow() {
    this.sessions.retryNow();
  }

  /** Ends the session: unanswered sends and joins fail with `closed`. Positions are kept for `connect`. */
  close() {
    this.sessions.stop(new MaruError("closed", "closed by the application"));
  }

  /** The last event seen of each joined channel. @returns {Record<string, Position>} */
  positions() {
    return this.#channels.positions();
  }

  /**
   * Joins as soon as there is a connection, and stays joined over reconnects until `leave` or `removed`.
   * @param {string} channel
   * The first join of a channel decides where its events begin: a later `since` brings none again.
   * @param {import("./types.js").JoinOptions} [options]
   */
  join(channel, options) {
    return this.#join(channel, this, options);
  }

  /**
   * Leaves, unless a `channel(name)` object has joined it too: from now on the application gets nothing of the channel.
   * Resolves when the server does not send it any more.
   * @param {string} channel @returns {Promise<void>}
   */
  leave(channel) {
    return this.#leave(channel, this);
  }

  /** @internal @param {string} channel @returns {import("./links.js").Link} */
  link(channel) {
    /** @type {import("./links.js").Link} */
    const link = {
      emit: () => {},
      listen: () => this.#links.hear(channel, link),
      join: (options) => {
        link.listen();
        return this.#join(channel, link, options);
      },
      leave: () => {
        this.#links.forget(channel, link);
        return this.#leave(channel, link);
      },
    };
    return link;
  }

  /** @internal @param {string} channel */
  people(channel) {
    return this.#channels.get(channel)?.people;
  }

  /** @internal The people of a joined channel, who are told from now on. @param {string} channel */
  attend(channel) {
    this.#channels.attend(channel);
    return this.people(channel);
  }

  /** @internal @param {string} channel */
  position(channel) {
    return this.#channels.get(channel)?.position ?? null;
  }

  /**
   * @param {string} channel @param {object} owner
   * @param {import("./types.js").JoinOptions} [options]
   * @returns {Promise<import("./types.js").Joined>}
   */
  async #join(channel, owner, { history, since, presence } = {}) {
    const isFirst = !this.#channels.get(channel);
    const from = since ?? (history === undefined ? this.#persistence?.position(channel) : undefined);
    const isNew = this.#links.join(channel, owner);
    try {
      let joined = await this.#channels.join(channel, { history, since: from, presence });
      if (!isFirst && history) joined = await this.#withHistory(joined, history);
      this.#persistence?.moved(channel, { epoch: joined.epoch, offset: joined.offset });
      return joined;
    } catch (error) {
      if (!this.#channels.get(channel)) this.#links.refused(channel);
      else if (isNew && this.state === "online") this.#leave(channel, owner).catch(() => {}); // it is not told to be in
      throw error;
    }
  }

  /** @param {import("./types.js").Joined} joined @param {number} limit */
  async #withHistory(joined, limit) {
    const { channel } = joined;
    for (let tries = 1; ; tries++) {
      try {
        const { messages } = await this.sessions.command("history:read", { channel, limit });
        return { ...joined, messages };
      } catch (error) {
        if (tries === HISTORY_TRIES || !(/** @type {MaruError} */ (error).retryable)) throw error;
        if (!this.#channels.get(channel)) throw new MaruError("closed", `left ${channel} before it was joined`);
        await this.#channels.join(channel, { presence: false }); // when there is a connection again
      }
    }
  }

  /** @param {string} channel @param {object} owner */
  async #leave(channel, owner) {
    if (!this.#links.leave(channel, owner)) return;
    this.#persistence?.moved(channel, null);
    await this.#channels.leave(channel);
  }

  /** @param {import("./subscription.js").Subscription} subscription */
  #peopleOf(subscription) {
    return new People({
      channel: subscription.channel,
      isLive: () => subscription.live && this.sessions.state === "online",
      position: () => subscription.position,
      command: (event, data) => this.sessions.command(event, data),
      after: (ms, run) => void this.sessions.current?.after(ms, run),
      emit: (name, value) => this.#emit(name, value),
      me: () => this.sessions.info?.user,
      options: this.options,
    });
  }

  /** What CONNECT says beside the token. @param {import("./connection.js").Connection} connection */
  #startOf(connection) {
    const { inbox } = this.options;
    const isFirst = !this.sessions.info; // a client that comes back has its positions
    return { resume: this.#channels.resume(connection), ...(inbox > 0 && isFirst && { inbox }) };
  }

  /** @param {any} session */
  #ready(session) {
    this.#emit("ready", session);
    this.#channels.joinAll();
    this.outbox.flushAll();
    const after = (/** @type {number} */ ms, /** @type {() => void} */ run) => void this.sessions.current?.after(ms, run);
    this.#persistence?.ready(session.user, after, () => this.outbox.release());
  }

  /** @param {string} name @param {any} value */
  #emit(name, value) {
    this.#emitter.emit(name, value);
    if (typeof value?.channel !== "string") return;
    this.#links.emit(name, value);
    const { channel, epoch, offset } = value;
    if (name === "event" || name === "reset") this.#persistence?.moved(channel, { epoch, offset });
    if (name === "removed") this.#persistence?.moved(channel, null);
  }
}
