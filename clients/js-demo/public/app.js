/** The chat page: the core's events go into timelines, timelines onto the page, and what people do back to the core. */

import { io } from "/vendor/socket.io.esm.min.js";

import { listenForAdding, renderChannels } from "./channels.js";
import { Composer } from "./composer.js";
import { byId, icon } from "./dom.js";
import { channelLabel, isChannelName } from "./format.js";
import { createMaru, newKey } from "./maru/index.js";
import { MessageList } from "./message_list.js";
import { avatar, openMenu } from "./message_row.js";
import { askName, fetchToken, forget, knownUser, remember } from "./sign_in.js";
import { Timeline } from "./timeline.js";

const DEMO_CHANNELS = ["room:lobby", "room:random", "room:maru"];
const KEPT_CHANNELS = "maru.channels";
const PAGE = 50; // messages asked for at a time
const TOAST_MS = 5_000;

const STATES = {
  connecting: "Connecting…",
  online: "Online",
  reconnecting: "Reconnecting…",
  offline: "Offline",
  "signed-out": "Signed out",
};

/** What a refusal means to the person who meets it. */
const REASONS = {
  permission_denied: "you are not allowed to do that here",
  not_found: "the message is gone",
  conflict: "the message has been deleted",
  payload_too_large: "it is too large",
  offline: "you are offline",
  timeout: "the server did not answer",
  unavailable: "the server can not do that right now",
  overloaded: "the server is too busy right now",
  outbox_full: "too many messages are waiting already",
  unauthenticated: "the server does not accept your name",
  token_revoked: "your access was withdrawn",
  terminated: "the server ended your session",
};

/**
 * @typedef {import("./timeline.js").Item} Item
 * @typedef {{name: string, timeline: Timeline, unread: number, unreadAfter: number, joining: boolean, joined: boolean,
 *            closed: string, loading: ""|"latest"|"before"|"after", problem: string}} Channel
 */

class Chat {
  /** @type {Map<string, Channel>} */ #channels = new Map();
  /** @type {Channel} */ #active;
  #me;
  #maru;
  #list;
  #composer;
  #toastTimer = 0;

  /** @param {string} me */
  constructor(me) {
    this.#me = me;
    this.#maru = createMaru({ io, getToken: () => fetchToken(me) });
    this.#list = new MessageList(byId("messages"), {
      me,
      acts: {
        edit: (item) => this.#composer.edit(item),
        remove: (item) => this.#confirmDelete(item),
        retry: (item) => this.#send(item.text, item.key ?? newKey()),
        discard: (item) => this.#discard(item),
      },
      onOlder: () => this.#load(this.#active, "before"),
      onNewer: () => this.#load(this.#active, "after"),
      onRetry: () => this.#tryAgain(),
      onEnd: () => this.#seen(),
    });
    this.#composer = new Composer({
      send: (text) => this.#sendNew(text),
      edit: (item, text) => this.#edit(item, text),
      lastOwn: () => this.#lastOwn(),
      editing: (id) => this.#list.setEditing(id),
    });
    for (const name of keptChannels()) this.#add(name);
    this.#active = [...this.#channels.values()][0];
  }

  start() {
    this.#listen();
    this.#showAccount();
    this.#open(this.#active.name);
    this.#maru.connect();
  }

  #listen() {
    const maru = this.#maru;
    maru.on("state", ({ state, error }) => this.#showState(state, error));
    maru.on("event", (event) => this.#heard(event));
    maru.on("reset", ({ channel }) => this.#reset(channel));
    maru.on("removed", ({ channel, code }) => this.#closed(channel, code));
    maru.on("ready", () => this.#ready());
    window.addEventListener("online", () => maru.retryNow());
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) return;
      maru.retryNow(); // a hidden page's timers are late
      this.#seen();
    });
    byId("jump").addEventListener("click", () => this.#toLatest());
    byId("sign-out").addEventListener("click", () => this.#signOut());
    byId("notice-act").addEventListener("click", () => {
      if (maru.state === "signed-out") maru.connect();
      else maru.retryNow();
    });
    for (const id of ["open-nav", "close-nav", "scrim"]) {
      byId(id).addEventListener("click", () => this.#navigate(id === "open-nav"));
    }
    byId("sidebar").addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
      if (event.key === "Escape") this.#navigate(false);
    });
    listenForAdding((name) => {
      this.#add(name);
      this.#open(name);
    });
  }

  // --- channels -------------------------------------------------------------------------------------------------

  /** @param {string} name */
  #add(name) {
    const known = this.#channels.get(name);
    if (known && !known.closed) return;
    const timeline = known?.timeline ?? new Timeline(this.#me);
    const fresh = { unread: 0, unreadAfter: Infinity, joining: false, joined: false };
    /** @type {any} */
    const channel = Object.assign(known ?? { name, timeline }, fresh, { closed: "", loading: "", problem: "" });
    this.#channels.set(name, channel);
    this.#join(channel);
    keepChannels([...this.#channels.keys()]);
  }

  /** @param {Channel} channel */
  async #join(channel) {
    channel.joining = true;
    try {
      await this.#maru.join(channel.name);
      channel.joined = true;
      // Only now: a page read before the join could end before the first live event.
      if (channel === this.#active) this.#load(channel, "latest");
    } catch (error) {
      if (error.code !== "closed" && this.#maru.state !== "signed-out") this.#closed(channel.name, error.code);
    } finally {
      channel.joining = false;
    }
  }

  /** @param {string} name */
  #open(name) {
    const channel = /** @type {Channel} */ (this.#channels.get(name));
    if (channel !== this.#active) this.#active.unreadAfter = Infinity;
    this.#active = channel;
    byId("room-name").textContent = channelLabel(name);
    this.#navigate(false);
    this.#list.show(channel);
    this.#openComposer();
    if (channel.joined && (!channel.timeline.loaded || channel.timeline.hasNewer)) this.#load(channel, "latest");
    this.#seen();
    if (matchMedia("(hover: hover)").matches) this.#composer.focus();
  }

  #openComposer() {
    this.#composer.open(this.#active.name, channelLabel(this.#active.name), this.#active.closed);
  }

  /** @param {string} name */
  #leave(name) {
    this.#maru.leave(name).catch(() => {}); // without a connection there is nothing to leave
    this.#channels.delete(name);
    keepChannels([...this.#channels.keys()]);
    this.#open([...this.#channels.keys()][0]);
  }

  /** @param {string} name @param {string} code */
  #closed(name, code) {
    const channel = this.#channels.get(name);
    if (!channel) return;
    channel.joined = false;
    channel.closed = code === "permission_denied" ? "You have no access to this channel" : "This channel is closed";
    channel.problem = `${channel.closed}.`;
    if (channel === this.#active) this.#openComposer();
    this.#refresh();
  }

  /** @param {string} name what was known has a hole */
  #reset(name) {
    const channel = this.#channels.get(name);
    if (!channel) return;
    channel.timeline.reset();
    if (channel === this.#active) this.#load(channel, "latest");
    this.#refresh();
  }

  #ready() {
    for (const channel of this.#channels.values()) {
      if (channel.joined) channel.problem = "";
      else if (!channel.joining && !channel.closed) this.#join(channel); // given up when the session ended
    }
    if (this.#active.joined && !this.#active.timeline.loaded) this.#load(this.#active, "latest");
    this.#refresh();
  }

  #tryAgain() {
    const channel = this.#active;
    if (channel.closed) {
      this.#add(channel.name);
      this.#openComposer();
    } else {
      this.#load(channel, channel.timeline.loaded ? "before" : "latest");
    }
    this.#refresh();
  }

  // --- messages -------------------------------------------------------------------------------------------------

  /** @param {any} event a log event, in order, once */
  #heard(event) {
    const channel = this.#channels.get(event.channel);
    if (!channel) return;
    const item = channel.timeline.apply(event);
    const watching = channel === this.#active && this.#list.atEnd && !document.hidden;
    if (item && item.author?.id !== this.#me && !watching) {
      if (channel.unread === 0) channel.unreadAfter = item.offset - 1;
      channel.unread += 1;
    }
    this.#trim(channel);
    this.#refresh();
  }

  /** The end that the reader does not see gives way. @param {Channel} channel */
  #trim(channel) {
    if (!channel.timeline.loaded) return;
    channel.timeline.trim(channel !== this.#active || this.#list.atEnd ? "older" : "newer");
  }

  /** @param {Channel} channel @param {"latest"|"before"|"after"} direction */
  async #load(channel, direction) {
    if (channel.loading) return;
    const { timeline } = channel;
    const { generation, items } = timeline;
    Object.assign(channel, { loading: direction, problem: "" });
    this.#refresh();
    try {
      const edge = direction === "before" ? { before: items.at(0)?.offset } : { after: items.at(-1)?.offset };
      const reply = await this.#maru.history(channel.name, { limit: PAGE, ...(direction === "latest" ? {} : edge) });
      if (timeline.generation === generation) {
        timeline.page(reply, direction);
        timeline.trim(direction === "before" ? "newer" : "older");
      }
    } catch (error) {
      // Without a connection there is nothing to complain of: the next one loads what is missing.
      channel.problem = error.code === "offline" ? "" : `The messages could not be loaded: ${reasonOf(error)}.`;
    }
    channel.loading = "";
    if (!timeline.loaded && this.#maru.state === "online" && !channel.problem) this.#load(channel, "latest");
    this.#refresh();
  }

  /** @param {string} text */
  async #sendNew(text) {
    this.#active.unreadAfter = Infinity;
    const sent = this.#send(text, newKey());
    this.#toLatest();
    await sent;
  }

  /** @param {string} text @param {string} key */
  async #send(text, key) {
    const { name, timeline } = this.#active;
    timeline.pend(key, text, Date.now());
    this.#refresh();
    try {
      timeline.confirm(key, await this.#maru.send(name, text, { key }));
    } catch (error) {
      timeline.fail(key, reasonOf(error));
    }
    this.#refresh();
  }

  /** @param {Item} item */
  #discard(item) {
    if (item.key) this.#active.timeline.discard(item.key);
    this.#refresh();
  }

  /** @param {Item} item @param {string} text @returns {Promise<boolean>} false: it stays in the composer */
  async #edit(item, text) {
    try {
      await this.#maru.edit(this.#active.name, item.id ?? "", text);
      return true;
    } catch (error) {
      this.#toast(`Not changed: ${reasonOf(error)}.`);
      return false;
    }
  }

  /** @param {Item} item */
  #confirmDelete(item) {
    openMenu(null);
    const { name } = this.#active;
    const dialog = byId("delete-dialog");
    byId("delete-quote").textContent = item.text;
    dialog.returnValue = "";
    dialog.onclose = () => dialog.returnValue === "delete" && this.#remove(name, item);
    dialog.showModal();
  }

  /** @param {string} name @param {Item} item */
  async #remove(name, item) {
    try {
      await this.#maru.remove(name, item.id ?? "");
    } catch (error) {
      this.#toast(`Not deleted: ${reasonOf(error)}.`);
    }
  }

  #lastOwn() {
    const { items } = this.#active.timeline;
    return items.findLast((item) => item.author?.id === this.#me && !item.deleted);
  }

  // --- the page -------------------------------------------------------------------------------------------------

  #toLatest() {
    if (this.#active.timeline.hasNewer) {
      this.#active.timeline.reset();
      this.#load(this.#active, "latest");
    }
    this.#list.follow();
    this.#seen();
  }

  #seen() {
    if (this.#list.atEnd && !document.hidden) this.#active.unread = 0;
    this.#refresh();
  }

  #refresh() {
    this.#list.refresh();
    const acts = {
      open: (/** @type {string} */ name) => this.#open(name),
      leave: (/** @type {string} */ name) => this.#leave(name),
    };
    renderChannels(this.#channels.values(), this.#active.name, acts);
    const counts = [...this.#channels.values()].map((channel) => channel.unread);
    const total = counts.reduce((sum, unread) => sum + unread, 0);
    document.title = total > 0 ? `(${total}) Maru` : "Maru";
    byId("nav-unread").hidden = total === this.#active.unread;
    this.#showJump();
  }

  #showJump() {
    const jump = byId("jump");
    const { unread, timeline } = this.#active;
    jump.hidden = this.#list.atEnd || !timeline.loaded;
    const news = unread === 1 ? "1 new message" : `${unread} new messages`;
    jump.replaceChildren(unread > 0 ? news : "Jump to latest", icon("down"));
    jump.classList.toggle("fresh", unread > 0);
  }

  /** @param {import("./maru/index.js").State} state @param {import("./maru/index.js").MaruError|null} error */
  #showState(state, error) {
    byId("connection-state").dataset.state = state;
    byId("connection-text").textContent = STATES[state];
    const out = state === "signed-out";
    byId("notice").hidden = !out && state !== "offline";
    byId("notice-text").textContent = out
      ? `You are signed out: ${reasonOf(error)}.`
      : "You are offline. What you write is kept, and sent when you are back.";
    byId("notice-act").textContent = out ? "Sign in again" : "Try now";
    this.#refresh();
  }

  #showAccount() {
    byId("account-avatar").replaceChildren(avatar(this.#me, this.#me));
    byId("account-name").textContent = this.#me;
    byId("app").hidden = false;
  }

  /** On a phone the channel list lies over the room. @param {boolean} open */
  #navigate(open) {
    const wasOpen = byId("app").dataset.nav === "open";
    byId("app").dataset.nav = open ? "open" : "closed";
    byId("scrim").hidden = !open;
    byId("open-nav").ariaExpanded = String(open);
    byId("room").inert = open;
    if (open) byId("channel-list").querySelector("[aria-current]")?.focus();
    else if (wasOpen) byId("open-nav").focus();
  }

  /** @param {string} text */
  #toast(text) {
    const toast = byId("toast");
    toast.textContent = text;
    toast.hidden = false;
    clearTimeout(this.#toastTimer);
    this.#toastTimer = window.setTimeout(() => (toast.hidden = true), TOAST_MS);
  }

  #signOut() {
    this.#maru.close();
    forget();
    location.reload();
  }
}

/** @param {any} error */
function reasonOf(error) {
  return /** @type {any} */ (REASONS)[error?.code] ?? error?.message ?? "the server gave no reason";
}

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

const user = knownUser() || (await askName());
remember(user);
new Chat(user).start();
