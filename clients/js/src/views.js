/**
 * What a user interface shows of a channel, as a value that changes: for React's `useSyncExternalStore`, and for
 * whatever else takes `subscribe` and `getSnapshot`. A view joins its channel with its first subscriber, and leaves a
 * moment after the last: a component that is mounted again at once costs nothing.
 */

import { MaruError } from "./errors.js";
import { merge, mergePage } from "./timeline.js";

const LINGER_MS = 1_000;
const REREAD_MS = 1_000; // between two tries to read what is missing
const LIMIT = 500; // messages that a view keeps: the latest

/**
 * @typedef {import("./index.js").Maru} Maru
 * @typedef {import("./channel.js").Channel} Channel
 * @typedef {import("./types.js").Message|import("./types.js").DeletedMessage} Entry
 */

/** @template Snapshot */
class View {
  /** @type {Snapshot} */ #snapshot;
  /** @type {Set<() => void>} */ #listeners = new Set();
  /** @type {(() => void)|null} */ #close = null;
  /** @type {any} */ #linger = null;
  #timers;
  #start;

  /**
   * @param {Maru} maru @param {Snapshot} first
   * @param {() => () => void} start begins, and returns how to end
   */
  constructor(maru, first, start) {
    this.#timers = maru.options.timers;
    this.#snapshot = first;
    this.#start = start;
  }

  /** @param {() => void} listener is called after each change @returns {() => void} */
  subscribe = (listener) => {
    this.#listeners.add(listener);
    this.#timers.clear(this.#linger);
    this.#close ??= this.#start();
    return () => {
      this.#listeners.delete(listener);
      if (this.#listeners.size === 0) this.#linger = this.#timers.set(() => this.#end(), LINGER_MS);
    };
  };

  getSnapshot = () => this.#snapshot;

  /** @param {Partial<Snapshot>} change */
  set(change) {
    if (!this.#close) return; // it is over, or only beginning: a later subscriber begins anew
    this.#snapshot = { ...this.#snapshot, ...change };
    for (const listener of [...this.#listeners]) listener();
  }

  #end() {
    this.#close?.();
    this.#close = null;
  }
}

/**
 * @typedef {object} Room
 * @property {Entry[]} messages oldest first; check `deleted`
 * @property {import("./types.js").Unsent[]} unsent those that wait for the server
 * @property {"joining"|"joined"|"refused"|"removed"} status
 * @property {MaruError|null} error why it is refused or removed
 */

/** The messages of a channel. @param {Maru} maru @param {string} name @param {number} history @returns {View<Room>} */
export function roomView(maru, name, history) {
  /** @type {View<Room>} */
  const view = new View(maru, { messages: [], unsent: maru.unsent(name), status: "joining", error: null }, () => {
    const channel = maru.channel(name);
    /** @type {import("./types.js").LogEvent[]} */ let recent = [];
    const latest = (/** @type {Entry[]} */ messages) => messages.slice(-LIMIT);
    let isStale = false; // events are missing, and history was not read since
    const read = () => {
      if (!isStale) return;
      channel.history({ limit: history }).then(
        (page) => {
          isStale = false;
          view.set({ messages: latest(mergePage(page.messages, recent, page)) });
        },
        ({ retryable, retryAfterMs }) => {
          if (retryable) retry = maru.options.timers.set(read, Math.max(retryAfterMs, REREAD_MS));
        },
      );
    };
    /** @type {any} */ let retry = null;
    const noteUnsent = () => view.set({ unsent: maru.unsent(name) });
    const join = follow(channel, { history }, view, ({ messages }) => {
      view.set({ status: "joined", error: null, messages: latest(merge(messages, recent)) });
    });
    const offs = [
      channel.on("event", (event) => {
        recent = [...recent, event].slice(-LIMIT);
        view.set({ messages: latest(merge(view.getSnapshot().messages, [event])) });
      }),
      channel.on("reset", () => {
        recent = [];
        isStale = history > 0;
        read();
      }),
      channel.on("removed", (gone) => view.set({ status: "removed", error: errorOf(gone) })),
      channel.on("settled", noteUnsent),
      maru.on("restored", noteUnsent),
      maru.on("queued", noteUnsent),
      maru.on("ready", () => view.getSnapshot().status === "joined" || join()),
    ];
    queueMicrotask(() => join());
    return () => {
      isStale = false;
      maru.options.timers.clear(retry);
      end(channel, offs);
    };
  });
  return view;
}

/** @param {Maru} maru @param {string} name @returns {View<import("./types.js").Roster & {error: MaruError|null}>} */
export function presenceView(maru, name) {
  /** @type {ReturnType<typeof presenceView>} */
  const view = new View(maru, { members: [], count: 0, complete: false, error: null }, () => {
    const channel = maru.channel(name);
    const join = follow(channel, undefined, view, () => {
      channel.presence().then(
        ({ members, count, complete }) => view.set({ members, count, complete, error: null }),
        (error) => view.set({ error }),
      );
    });
    const change = (/** @type {import("./types.js").Roster} */ { members, count, complete }) =>
      view.set({ members, count, complete });
    const offs = [channel.on("presence", change), maru.on("ready", () => view.getSnapshot().error && join())];
    queueMicrotask(() => join());
    return () => end(channel, offs);
  });
  return view;
}

/** @param {Maru} maru @param {string} name @returns {View<import("./types.js").Unread & {known: boolean}>} */
export function unreadView(maru, name) {
  /** @type {ReturnType<typeof unreadView>} */
  const view = new View(maru, { count: 0, mentions: 0, readOffset: 0, known: false }, () => {
    const channel = maru.channel(name);
    const note = () => channel.unread && view.set({ ...channel.unread, known: true });
    const join = follow(channel, undefined, null, note);
    const offs = [channel.on("unread", note), maru.on("ready", () => view.getSnapshot().known || join())];
    queueMicrotask(() => join());
    return () => end(channel, offs);
  });
  return view;
}

/** @param {Maru} maru @param {string} name @returns {View<{users: string[]}>} */
export function typingView(maru, name) {
  /** @type {ReturnType<typeof typingView>} */
  const view = new View(maru, { users: /** @type {string[]} */ ([]) }, () => {
    const channel = maru.channel(name);
    const join = follow(channel, undefined, null, () => view.set({ users: channel.typists }));
    const offs = [channel.on("typing", ({ users }) => view.set({ users }))];
    queueMicrotask(() => join());
    return () => end(channel, offs);
  });
  return view;
}

/**
 * Returns how to join. A refusal is shown, and no rejection is left to nobody.
 * @param {Channel} channel @param {{history: number}|undefined} options @param {View<any>|null} view
 * @param {(joined: import("./types.js").Joined) => void} joined
 */
function follow(channel, options, view, joined) {
  return () => {
    channel.join(options).then(joined, (error) => {
      if (error.code !== "closed") view?.set({ status: "refused", error });
    });
  };
}

/** @param {Channel} channel @param {(() => void)[]} offs */
function end(channel, offs) {
  for (const off of offs) off();
  channel.leave().catch(() => {}); // the connection is over, and with it the join
}

/** @param {{channel: string, code: string, reason?: string}} gone */
function errorOf({ channel, code, reason }) {
  return new MaruError(code, `no longer in ${channel}`, { details: { reason } });
}
