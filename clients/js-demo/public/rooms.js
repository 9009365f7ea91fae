/** The channels of this tab: joined over the core, each with its timeline and its count of unread messages. */

import { channelLabel, isChannelName } from "./format.js";
import { closedOf, delayOf, reasonOf, secondsOf } from "./reasons.js";
import { Timeline } from "./timeline.js";

const DEMO_CHANNELS = ["room:lobby", "room:random", "room:maru"];
const KEPT_CHANNELS = "maru.channels";
const PAGE = 50; // messages asked for at a time

/**
 * @typedef {"latest"|"before"|"after"} Direction
 * @typedef {{name: string, timeline: Timeline, unread: number, unreadAfter: number, joining: boolean, joined: boolean,
 *            closed: string, loading: ""|Direction, problem: string}} Room
 *   `unreadAfter`: offset of the last message read; Infinity if all are. `closed`: why nothing can be written, or "".
 *   `problem`: why messages are missing, or ""
 * @typedef {{atEnd(): boolean, changed(): void, accessChanged(room: Room): void, told(news: string): void}} Hooks
 *   `atEnd`: the reader is at the end of the active room. `changed`: render it soon. `accessChanged`: it was closed, or
 *   opened again. `told`: a sentence that the reader should see for a moment
 */

export class Rooms {
  /** @type {Room} on the page */ active;

  #me;
  #maru;
  #hooks;
  /** @type {Map<string, Room>} */ #rooms = new Map();

  /** @param {string} me @param {import("../../js/src/index.js").Maru} maru @param {Hooks} hooks */
  constructor(me, maru, hooks) {
    this.#me = me;
    this.#maru = maru;
    this.#hooks = hooks;
    for (const name of keptChannels()) this.add(name);
    [this.active] = this.all;
    maru.on("event", (event) => this.#heard(event));
    maru.on("reset", ({ channel }) => this.#reset(channel));
    maru.on("removed", (lost) => this.#removed(lost));
    maru.on("delayed", (delay) => this.#delayed(delay));
    maru.on("ready", () => this.#ready());
  }

  get all() {
    return [...this.#rooms.values()];
  }

  /** Joins a room, unless it is there already and open. @param {string} name */
  add(name) {
    const known = this.#rooms.get(name);
    if (known && !known.closed) return;
    const timeline = known?.timeline ?? new Timeline(this.#me);
    const fresh = { unread: 0, unreadAfter: Infinity, joining: false, joined: false };
    /** @type {any} */
    const room = Object.assign(known ?? { name, timeline }, fresh, { closed: "", loading: "", problem: "" });
    this.#rooms.set(name, room);
    this.#join(room);
    keepChannels([...this.#rooms.keys()]);
  }

  /** Makes a room the active one. @param {string} name */
  open(name) {
    const room = /** @type {Room} */ (this.#rooms.get(name));
    if (room !== this.active) this.active.unreadAfter = Infinity;
    this.active = room;
  }

  /** @param {string} name */
  leave(name) {
    this.#maru.leave(name).catch(() => {}); // without a connection there is nothing to leave
    this.#rooms.delete(name);
    keepChannels([...this.#rooms.keys()]);
  }

  /** Reads the active room's latest messages if they are not loaded. */
  loadActive() {
    const { joined, timeline } = this.active;
    if (joined && (!timeline.loaded || timeline.hasNewer)) this.load("latest");
  }

  /** After a problem of the active room: joins it again, or reads the missing page again. */
  tryAgain() {
    const { active } = this;
    if (active.closed) {
      this.add(active.name);
      this.#hooks.accessChanged(active);
    } else {
      this.load(active.timeline.loaded ? "before" : "latest");
    }
    this.#hooks.changed();
  }

  /** Reads a page of history. @param {Direction} direction */
  async load(direction, room = this.active) {
    if (room.loading) return;
    const { timeline } = room;
    const { generation, items } = timeline;
    Object.assign(room, { loading: direction, problem: "" });
    this.#hooks.changed();
    try {
      const edge = direction === "before" ? { before: items.at(0)?.offset } : { after: items.at(-1)?.offset };
      const reply = await this.#maru.history(room.name, { limit: PAGE, ...(direction === "latest" ? {} : edge) });
      if (timeline.generation === generation) {
        timeline.page(reply, direction);
        timeline.trim(direction === "before" ? "newer" : "older");
      }
    } catch (cause) {
      const error = /** @type {any} */ (cause);
      // No complaint without a connection: the next one loads the missing page.
      room.problem = error.code === "offline" ? "" : `The messages could not be loaded: ${reasonOf(error)}.`;
      if (error.code === "rate_limited") this.#loadLater(direction, room, error.retryAfterMs);
    }
    room.loading = "";
    if (!timeline.loaded && this.#maru.state === "online" && !room.problem) this.load("latest", room);
    this.#hooks.changed();
  }

  /** Reads the page that was asked for too early. @param {Direction} direction @param {Room} room @param {number} ms */
  #loadLater(direction, room, ms) {
    const { problem } = Object.assign(room, { problem: `More messages come in ${secondsOf(ms)}.` });
    setTimeout(() => room.problem === problem && this.load(direction, room), ms);
  }

  /** @param {Room} room */
  async #join(room) {
    room.joining = true;
    try {
      await this.#maru.join(room.name);
      room.joined = true;
      // Not before: a page read before the join could end before the first live event.
      if (room === this.active) this.load("latest");
    } catch (cause) {
      const error = /** @type {any} */ (cause);
      if (error.code !== "closed" && this.#maru.state !== "signed-out") this.#closed(room, error, false);
    } finally {
      room.joining = false;
    }
  }

  #ready() {
    for (const room of this.#rooms.values()) {
      if (room.joined) room.problem = "";
      else if (!room.joining && !room.closed) this.#join(room); // given up when the session ended
    }
    if (this.active.joined && !this.active.timeline.loaded) this.load("latest");
    this.#hooks.changed();
  }

  /** @param {any} event a log event, in order, once */
  #heard(event) {
    const room = this.#rooms.get(event.channel);
    if (!room) return;
    const item = room.timeline.apply(event);
    const atEnd = room === this.active && this.#hooks.atEnd();
    if (item && !item.deleted && item.author?.id !== this.#me && (!atEnd || document.hidden)) {
      if (room.unread === 0) room.unreadAfter = item.offset - 1;
      room.unread += 1;
    }
    // The window is bounded: drop messages at the end that the reader does not see.
    if (room.timeline.loaded) room.timeline.trim(room !== this.active || atEnd ? "older" : "newer");
    this.#hooks.changed();
  }

  /** Events of the room are missing: reads it again. @param {string} name */
  #reset(name) {
    const room = this.#rooms.get(name);
    if (!room) return;
    room.timeline.reset();
    if (room === this.active) this.load("latest");
    this.#hooks.changed();
  }

  /** @param {{channel: string, code: string, reason?: string}} lost */
  #removed(lost) {
    const room = this.#rooms.get(lost.channel);
    if (!room) return;
    this.#closed(room, lost, true);
    if (room !== this.active) this.#hooks.told(`#${channelLabel(room.name)}: ${lowered(room.closed)}.`);
  }

  /** A send or a join is tried again later. @param {import("../../js/src/index.js").Events["delayed"]} delay */
  #delayed({ channel, key, error, waitMs }) {
    const when = secondsOf(waitMs);
    if (key === null) {
      if (channel === this.active.name) this.#hooks.told(`${delayOf(error)}: the channel opens in ${when}.`);
      return;
    }
    const wait = error.code === "rate_limited" ? `it goes out in ${when}` : `it is tried again in ${when}`;
    this.#rooms.get(channel)?.timeline.delay(key, `${delayOf(error)}: ${wait}`);
    this.#hooks.changed();
  }

  /** @param {Room} room @param {{code: string, reason?: string}} error @param {boolean} wasIn */
  #closed(room, error, wasIn) {
    room.joined = false;
    room.closed = closedOf(error, wasIn);
    room.problem = `${room.closed}.`;
    if (room === this.active) this.#hooks.accessChanged(room);
    this.#hooks.changed();
  }
}

/** @param {string} sentence after a colon */
function lowered(sentence) {
  return sentence.charAt(0).toLowerCase() + sentence.slice(1);
}

/** @returns {string[]} the channels of this tab's last visit */
function keptChannels() {
  try {
    const names = JSON.parse(sessionStorage.getItem(KEPT_CHANNELS) ?? "");
    if (Array.isArray(names) && names.length > 0 && names.every((name) => isChannelName(name))) return names;
  } catch {
    // Nothing was kept, or not by this page.
  }
  return DEMO_CHANNELS;
}

/** @param {string[]} names */
function keepChannels(names) {
  sessionStorage.setItem(KEPT_CHANNELS, JSON.stringify(names));
}
