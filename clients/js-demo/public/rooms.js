/** The channels of this tab: joined over the core, each with its timeline and what of it is read. */

import { channelLabel } from "./format.js";
import { keepChannels, keptChannels, keptPlace } from "./kept_channels.js";
import { Reading } from "./reading.js";
import { closedOf, delayOf, reasonOf, secondsOf } from "./reasons.js";
import { Timeline } from "./timeline.js";

const PAGE = 50; // messages asked for at a time

/**
 * @typedef {"latest"|"before"|"after"} Direction
 * @typedef {{name: string, channel: import("../../js/src/index.js").Channel, timeline: Timeline, reading: Reading, joining: boolean, joined: boolean,
 *            closed: string, loading: ""|Direction, problem: string}} Room
 *   `channel`: of the client. `closed`: why nothing can be written, or "". `problem`: why messages are missing, or ""
 * @typedef {{atEnd(): boolean, isLooking(): boolean, changed(): void, accessChanged(room: Room): void,
 *            heard(event: any): void, told(news: string): void}} Hooks
 *   `atEnd`: the list of the active room is at its end. `isLooking`: and somebody sees it. `changed`: render it soon.
 *   `accessChanged`: it was closed, or opened again. `heard`: a log event, after it was applied. `told`: a sentence to be
 *   seen for a moment
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
    this.active = this.#rooms.get(keptPlace() ?? "") ?? this.all[0];
    maru.on("event", (event) => this.#heard(event));
    maru.on("reset", ({ channel }) => this.#reset(channel));
    maru.on("removed", (lost) => this.#removed(lost));
    maru.on("delayed", (delay) => this.#delayed(delay));
    maru.on("ready", () => this.#ready());
  }

  /** @param {string} name @returns {Room|undefined} */
  get(name) {
    return this.#rooms.get(name);
  }

  get all() {
    return [...this.#rooms.values()];
  }

  /** Joins a room, unless it is there already and open. @param {string} name */
  add(name) {
    const known = this.#rooms.get(name);
    if (known && !known.closed) return;
    const room = known ?? this.#make(name);
    Object.assign(room, { joining: false, joined: false, closed: "", loading: "", problem: "" });
    this.#rooms.set(name, room);
    this.#join(room);
    keepChannels([...this.#rooms.keys()]);
  }

  /** @param {string} name */
  #make(name) {
    const channel = this.#maru.channel(name);
    const reading = new Reading((offset) => channel.markRead(offset));
    const room = /** @type {any} */ ({ name, channel, reading, timeline: new Timeline(this.#me) });
    channel.on("unread", () => this.#counted(room));
    return room;
  }

  /** Makes a room the active one. @param {string} name */
  open(name) {
    const room = /** @type {Room} */ (this.#rooms.get(name));
    if (room !== this.active) this.active.reading.settle();
    this.active = room;
  }

  /** Somebody looks at the end of the active room. */
  seen() {
    const { timeline, reading, joined } = this.active;
    if (joined && timeline.loaded) reading.seen(timeline.head);
  }

  /** @param {string} name */
  leave(name) {
    this.#rooms.get(name)?.channel.leave().catch(() => {}); // without a connection there is nothing to leave
    this.#rooms.delete(name);
    keepChannels([...this.#rooms.keys()]);
  }

  /** Reads the active room's latest messages if they are not loaded. */
  loadActive() {
    const { joined, timeline } = this.active;
    if (joined && (!timeline.loaded || timeline.hasNewer)) this.load("latest");
  }

  /** Reads the page with the first new message of the active room. */
  async loadFirstNew() {
    const { joined, loading, timeline, reading } = this.active;
    if (!joined || loading || !Number.isFinite(reading.unreadAfter)) return;
    timeline.moveTo(Math.max(0, reading.unreadAfter - 1));
    await this.load("after");
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
      const edge = direction === "before" ? { before: items.at(0)?.offset } : { after: items.at(-1)?.offset ?? timeline.from };
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
    if (this.#isRead(room)) this.seen();
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
      await room.channel.join();
      room.joined = true;
      this.#counted(room);
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
    room.timeline.apply(event);
    const atEnd = room === this.active && this.#hooks.atEnd();
    if (this.#isRead(room)) this.seen();
    // The window is bounded: drop messages at the end that the reader does not see.
    if (room.timeline.loaded) room.timeline.trim(room !== this.active || atEnd ? "older" : "newer");
    this.#hooks.heard(event);
    this.#hooks.changed();
  }

  /** Whether somebody sees the end of the room. @param {Room} room */
  #isRead(room) {
    return room === this.active && room.timeline.loaded && this.#hooks.isLooking();
  }

  /** The core has counted anew what is unread. @param {Room} room */
  #counted(room) {
    const isRead = this.#isRead(room);
    if (room.channel.unread) room.reading.count(room.channel.unread, isRead);
    if (isRead) this.seen();
    this.#hooks.changed();
  }

  /** Events of the room are missing: reads it again. @param {string} name */
  #reset(name) {
    const room = this.#rooms.get(name);
    if (!room) return;
    room.timeline.reset();
    room.reading.reset();
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
