/** The chat page: events of the core go into the rooms, rooms onto the page, and people's actions to the core. */

import { io } from "/vendor/socket.io.esm.min.js";

import { listenForAdding, renderChannels } from "./channels.js";
import { Composer } from "./composer.js";
import { byId } from "./dom.js";
import { channelLabel } from "./format.js";
import { createMaru, newKey } from "../../js/src/index.js";
import { MessageList } from "./message_list.js";
import { openMenu } from "./message_row.js";
import { listenForNavigation, navigate } from "./navigation.js";
import { reasonOf } from "./reasons.js";
import { Rooms } from "./rooms.js";
import { fetchToken, forget } from "./sign_in.js";
import { showAccount, showJump, showState, showUnread, toast } from "./status.js";

/** @typedef {import("./timeline.js").Item} Item */

export class Chat {
  #me;
  #maru;
  #rooms;
  #list;
  #composer;

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
      onOlder: () => this.#rooms.load("before"),
      onNewer: () => this.#rooms.load("after"),
      onRetry: () => this.#rooms.tryAgain(),
      onEnd: () => this.#seen(),
    });
    this.#composer = new Composer({
      send: (text) => this.#sendNew(text),
      edit: (item, text) => this.#edit(item, text),
      lastOwn: () => this.#lastOwn(),
      editing: (id) => this.#list.setEditing(id),
    });
    this.#rooms = new Rooms(me, this.#maru, {
      atEnd: () => this.#list.atEnd,
      changed: () => this.#refresh(),
      accessChanged: () => this.#openComposer(),
      told: toast,
    });
  }

  start() {
    this.#listen();
    showAccount(this.#me);
    this.#open(this.#rooms.active.name);
    this.#maru.connect();
  }

  #listen() {
    const maru = this.#maru;
    maru.on("state", ({ state, error }) => {
      showState(state, error);
      this.#refresh();
    });
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
    listenForNavigation();
    listenForAdding((name) => {
      this.#rooms.add(name);
      this.#open(name);
    });
  }

  /** @param {string} name */
  #open(name) {
    this.#rooms.open(name);
    byId("room-name").textContent = channelLabel(name);
    navigate(false);
    this.#list.show(this.#rooms.active);
    this.#openComposer();
    this.#rooms.loadActive();
    this.#seen();
    if (matchMedia("(hover: hover)").matches) this.#composer.focus();
  }

  #openComposer() {
    const { name, closed } = this.#rooms.active;
    this.#composer.open(name, channelLabel(name), closed);
  }

  /** @param {string} name */
  #leave(name) {
    this.#rooms.leave(name);
    this.#open(this.#rooms.all[0].name);
  }

  /** @param {string} text */
  async #sendNew(text) {
    this.#rooms.active.unreadAfter = Infinity;
    const sent = this.#send(text, newKey());
    this.#toLatest();
    await sent;
  }

  /** @param {string} text @param {string} key */
  async #send(text, key) {
    const { name, timeline } = this.#rooms.active;
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
    if (item.key) this.#rooms.active.timeline.discard(item.key);
    this.#refresh();
  }

  /** @param {Item} item @param {string} text @returns {Promise<boolean>} false: the text stays in the composer */
  async #edit(item, text) {
    try {
      await this.#maru.edit(this.#rooms.active.name, item.id ?? "", text);
      return true;
    } catch (error) {
      toast(`Not changed: ${reasonOf(error)}.`);
      return false;
    }
  }

  /** @param {Item} item */
  #confirmDelete(item) {
    openMenu(null);
    const { name } = this.#rooms.active;
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
      toast(`Not deleted: ${reasonOf(error)}.`);
    }
  }

  #lastOwn() {
    const { items } = this.#rooms.active.timeline;
    return items.findLast((item) => item.author?.id === this.#me && !item.deleted);
  }

  #toLatest() {
    const { timeline } = this.#rooms.active;
    if (timeline.hasNewer) {
      timeline.reset();
      this.#rooms.load("latest");
    }
    this.#list.follow();
    this.#seen();
  }

  #seen() {
    if (this.#list.atEnd && !document.hidden) this.#rooms.active.unread = 0;
    this.#refresh();
  }

  #refresh() {
    this.#list.refresh();
    const { active, all } = this.#rooms;
    renderChannels(all, active.name, { open: (name) => this.#open(name), leave: (name) => this.#leave(name) });
    showUnread(all.reduce((sum, { unread }) => sum + unread, 0), active.unread);
    showJump(this.#list.atEnd || !active.timeline.loaded, active.unread);
  }

  #signOut() {
    this.#maru.close();
    forget();
    location.reload();
  }
}
