/** The chat page: events of the core go into the rooms, rooms onto the page, and people's actions to the core. */

import { io } from "/vendor/socket.io.esm.min.js";

import { createMaru } from "../../js/src/index.js";
import { listenForAdding, renderChannels } from "./channels.js";
import { Composer } from "./composer.js";
import { confirmDelete } from "./delete_dialog.js";
import { byId } from "./dom.js";
import { listenForTips } from "./floating.js";
import { FirstNew } from "./first_new.js";
import { Following } from "./following.js";
import { channelLabel } from "./format.js";
import { Here } from "./here.js";
import { keepPlace, keptPlace } from "./kept_channels.js";
import { MessageList } from "./message_list.js";
import { listenForNavigation, navigate } from "./navigation.js";
import { People } from "./people.js";
import { Reacting } from "./reacting.js";
import { Rooms } from "./rooms.js";
import { fetchToken, forget, lossOf, storeOf } from "./sign_in.js";
import { showAccount, showFollowing, showJump, showState, showTitle, showUnread, toast } from "./status.js";
import { Writing } from "./writing.js";

export class Chat {
  #me;
  #maru;
  #people;
  #here;
  #reacting;
  #list;
  #composer;
  #rooms;
  #writing;
  #following;
  /** @type {FirstNew|undefined} */ #firstNew;
  /** @type {{open(name: string): void, leave(name: string): void}} */
  #listActs = { open: (name) => this.#open(name), leave: (name) => this.#leave(name) };
  #isInbox = false; // the inbox is on the page, in the place of a channel

  /** @param {string} me */
  constructor(me) {
    this.#me = me;
    this.#maru = createMaru({ io, getToken: () => fetchToken(me), storage: storeOf(me) });
    this.#people = new People(me);
    this.#here = new Here(me, this.#people);
    const shown = { changed: () => this.#refresh(), told: toast };
    this.#reacting = new Reacting(me, { ...shown, channel: () => this.#rooms.active.channel });
    this.#list = this.#makeList();
    this.#composer = new Composer({
      send: (text, mentions) => this.#send(text, mentions),
      edit: (item, text) => this.#writing.edit(item, text),
      lastOwn: () => this.#writing.lastOf(me),
      editing: (id) => this.#list.setEditing(id),
      typing: (isTyping) => this.#writing.typing(isTyping),
      people: () => this.#mentionable(),
    });
    this.#rooms = new Rooms(me, this.#maru, {
      ...shown,
      atEnd: () => this.#list.atEnd,
      isLooking: () => this.#isLooking,
      accessChanged: (room) => {
        this.#openComposer();
        this.#here.show(room.channel);
      },
      heard: (event) => this.#heard(event),
    });
    this.#writing = new Writing(this.#maru, this.#rooms, shown);
    this.#following = new Following(me, this.#maru, {
      ...shown,
      found: (name) => this.#rooms.add(name),
      open: (name) => this.#goTo(name),
    });
    this.#firstNew = new FirstNew({
      room: () => this.#rooms.active,
      go: () => (this.#list.atEnd = false),
      load: () => this.#rooms.loadFirstNew(),
    });
  }

  #makeList() {
    return new MessageList(byId("messages"), {
      me: this.#me,
      people: this.#people,
      clicks: this.#reacting.clicks,
      acts: {
        edit: (item) => this.#composer.edit(item),
        remove: (item) => {
          const { name } = this.#rooms.active;
          confirmDelete(item.text, () => this.#writing.remove(name, item));
        },
        retry: (item) => this.#writing.retry(item),
        discard: (item) => this.#writing.discard(item),
        pick: (item, button) => this.#reacting.pick(item, button),
        react: (item, emoji) => this.#reacting.toggle(item, emoji),
      },
      onOlder: () => this.#rooms.load("before"),
      onNewer: () => this.#rooms.load("after"),
      onRetry: () => this.#rooms.tryAgain(),
      onEnd: () => this.#seen(),
      onRendered: () => this.#firstNew?.render(),
    });
  }

  start() {
    this.#listen();
    showAccount(this.#me);
    const isInbox = keptPlace() === "";
    this.#open(this.#rooms.active.name);
    if (isInbox) this.#openInbox();
    this.#maru.connect();
  }

  #listen() {
    const maru = this.#maru;
    maru.on("state", ({ state, error }) => {
      showState(state, error);
      this.#seen(); // a mark that was not taken is made again
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
    byId("open-inbox").addEventListener("click", () => this.#openInbox());
    byId("follow").addEventListener("click", () => this.#following.toggle(this.#rooms.active.name, this.#rooms.active));
    listenForNavigation();
    listenForTips(byId("messages"));
    listenForAdding((name) => this.#goTo(name));
  }

  /** @param {string} name of a channel that may not be in the list yet */
  #goTo(name) {
    this.#rooms.add(name);
    this.#open(name);
  }

  /** @param {string} name */
  #open(name) {
    this.#isInbox = false;
    keepPlace(name);
    this.#reacting.close();
    this.#firstNew?.forget();
    this.#rooms.open(name);
    showTitle(channelLabel(name), false);
    navigate(false);
    this.#list.show(this.#rooms.active);
    this.#here.show(this.#rooms.active.channel);
    this.#openComposer();
    this.#rooms.loadActive();
    this.#seen();
    if (matchMedia("(hover: hover)").matches) this.#composer.focus();
  }

  #openInbox() {
    this.#isInbox = true;
    keepPlace("");
    this.#rooms.active.reading.settle();
    showTitle("Inbox", true);
    navigate(false);
    this.#refresh();
  }

  #openComposer() {
    const { name, closed } = this.#rooms.active;
    this.#composer.open(name, channelLabel(name), closed);
  }

  /** @param {string} name */
  #leave(name) {
    if (this.#following.has(name)) this.#following.toggle(name); // else the next visit brings it back
    this.#rooms.leave(name);
    this.#open(this.#rooms.all[0].name);
  }

  /** @param {string} text @param {string[]} mentions */
  #send(text, mentions) {
    this.#rooms.active.reading.settle();
    this.#writing.send(text, mentions);
    this.#toLatest();
  }

  /** People whom a message may mention: the members, and those who have written lately. */
  #mentionable() {
    const found = new Map(this.#here.members.map((person) => [person.user, person]));
    for (const { author } of this.#rooms.active.timeline.items.toReversed()) {
      if (author && !found.has(author.id)) found.set(author.id, { user: author.id, name: author.name });
    }
    found.delete(this.#me);
    return found.values();
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

  /** Whether somebody sees the end of the channel on the page. */
  get #isLooking() {
    return this.#list.atEnd && !document.hidden && !this.#isInbox;
  }

  #seen() {
    if (this.#isLooking) this.#rooms.seen();
    this.#refresh();
  }

  /** @param {any} event a log event */
  #heard(event) {
    this.#people.heardOf(event.message?.author);
    this.#following.heard(event);
  }

  #refresh() {
    this.#list.refresh();
    const { active, all } = this.#rooms;
    const listed = all.map(({ name, reading: { unread, mentions }, closed }) => ({ name, unread, mentions, closed }));
    renderChannels(listed, this.#isInbox ? "" : active.name, this.#listActs);
    this.#following.render(all, this.#isInbox);
    showFollowing(this.#following.has(active.name));
    const { unread } = active.reading;
    showUnread(listed.reduce((sum, each) => sum + each.unread, 0), this.#isInbox ? 0 : unread, this.#following.totals);
    showJump(this.#list.atEnd || !active.timeline.loaded, unread);
  }

  #signOut() {
    const waiting = this.#rooms.all.flatMap(({ timeline }) => timeline.unsent).length;
    if (waiting > 0 && !confirm(lossOf(waiting))) return;
    this.#maru.close();
    forget(this.#me);
    location.reload();
  }
}
