/**
 * The scrolling list of one channel. While messages come and go on either side, the message that the reader looks at
 * stays in its place. At the end the list follows new messages. Before an edge is reached, it asks for the next page.
 */

import { el } from "./dom.js";
import { rowsOf } from "./format.js";
import { problemOf, skeleton, spinner, startOf } from "./list_edges.js";
import { equip, rowElement, settleLength, signatureOf } from "./message_row.js";
import { renderChips } from "./reaction_chips.js";
import { chipsOf } from "./reactions.js";
import { listenForLongPress, moveByArrows } from "./row_menu.js";
import { Timeline } from "./timeline.js";

const NEAR_END_PX = 48; // this close to the end, the reader follows it
const ASK_PX = 800; // this close to an edge, the next page is asked for: about a screen ahead
const LATE_FRAME_MS = 120; // a hidden page gets no animation frames: render without

/**
 * @typedef {import("./timeline.js").Item} Item
 * @typedef {{me: string, people: import("./people.js").People, clicks: import("./reactions.js").Clicks,
 *            acts: import("./message_row.js").Acts & {react(item: Item, emoji: string): void},
 *            onOlder(): void, onNewer(): void, onRetry(): void, onEnd(): void, onRendered(): void}} Hooks
 * @typedef {{name: string, timeline: Timeline, loading: ""|"latest"|"before"|"after", problem: string,
 *            reading: {unreadAfter: number}}} Shown
 * @typedef {{element: HTMLElement, signature: string, item: Item|undefined, reactions: any, asOf: number,
 *            clicks: number}} Known `reactions`, `asOf`, `clicks`: of which the chips were made
 */

export class MessageList {
  atEnd = true;

  #box; // scrolls
  #rows; // <ol>
  #edge; // above the rows: loading, an error, or the channel's start
  #tail; // below the rows: loading towards the present
  #hooks;
  /** @type {Shown|null} */ #shown = null;
  /** @type {string|null} */ #editing = null;
  /** @type {Map<string, Known>} by uid */ #known = new Map();
  /** @type {WeakMap<Element, string>} */ #uids = new WeakMap();
  /** @type {Element[]} rows that were made anew */ #fresh = [];
  /** @type {Set<string>} uids of the long messages that are shown whole */ #expanded = new Set();
  #edgeState = "";
  /** @type {Element|null} whose buttons are in the tab order */ #reached = null;
  #due = false;

  /** @param {HTMLElement} box @param {Hooks} hooks */
  constructor(box, hooks) {
    this.#hooks = hooks;
    this.#edge = el("div", { class: "edge" });
    this.#rows = el("ol", { class: "rows" });
    this.#tail = el("div", { class: "tail", hidden: true }, spinner());
    this.#box = box;
    box.replaceChildren(this.#edge, this.#rows, this.#tail);
    box.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    box.addEventListener("keydown", (event) => moveByArrows(event, this.#rows));
    for (const name of ["pointerover", "pointerdown", "focusin"]) {
      box.addEventListener(name, (event) => this.#wanted(event));
    }
    box.addEventListener("focusin", (event) => this.#focused(event));
    listenForLongPress(box);
    const resized = new ResizeObserver(() => this.atEnd && this.toEnd());
    resized.observe(box);
    resized.observe(this.#rows);
  }

  /** Shows a channel from its end. @param {Shown} shown */
  show(shown) {
    this.#shown = shown;
    this.#known.clear();
    this.#expanded.clear();
    this.#rows.replaceChildren();
    this.#edgeState = "";
    this.atEnd = true;
    this.#render();
    this.toEnd();
  }

  /** Goes to the end, and stays there. */
  follow() {
    this.atEnd = true;
    this.toEnd();
    this.refresh();
  }

  /** @param {string|null} id the message in the composer */
  setEditing(id) {
    this.#editing = id;
    this.refresh();
  }

  /** Renders soon: many changes, one rendering. */
  refresh() {
    if (this.#due) return;
    this.#due = true;
    const run = () => {
      if (!this.#due) return;
      this.#due = false;
      this.#render();
    };
    requestAnimationFrame(run);
    setTimeout(run, LATE_FRAME_MS);
  }

  toEnd() {
    this.#box.scrollTop = this.#box.scrollHeight;
  }

  #render() {
    if (!this.#shown) return;
    const anchor = this.atEnd ? null : this.#anchor();
    const { timeline, reading, loading } = this.#shown;
    const isLineOlder = timeline.hasOlder && (timeline.items.at(0)?.offset ?? 0) > reading.unreadAfter;
    // A screen reader announces new messages, and is silent while pages of history are read.
    this.#box.setAttribute("aria-busy", String(loading !== "" || !this.atEnd));
    this.#place(rowsOf(timeline.all, Date.now(), isLineOlder ? Infinity : reading.unreadAfter));
    this.#renderEdges();
    const kept = anchor && this.#known.get(anchor.uid)?.element; // by id: its element may have been replaced
    if (kept) this.#box.scrollTop += kept.getBoundingClientRect().top - anchor.top;
    else if (this.atEnd) this.toEnd();
    this.#hooks.onRendered();
    this.#ask();
  }

  /** Brings the list's children in line with the rows; equal children are not touched. @param {any[]} rows */
  #place(rows) {
    const wanted = new Set(rows.map((row) => row.uid));
    for (const [uid, { element }] of this.#known) {
      if (wanted.has(uid)) continue;
      element.remove();
      this.#known.delete(uid);
    }
    for (const { item } of rows) this.#hooks.people.heardOf(item?.author);
    // Before the walk, as it may replace children.
    const elements = rows.map((row) => this.#chipped(row, this.#element(row)));
    /** @type {Element|null} */ let next = this.#rows.firstElementChild;
    for (const element of elements) {
      if (element === next) next = next.nextElementSibling;
      else this.#rows.insertBefore(element, next);
    }
    for (const element of this.#fresh.splice(0)) settleLength(element);
  }

  /** @param {any} row */
  #element(row) {
    const { me, people } = this.#hooks;
    const looks = { me, people, editing: this.#editing, expanded: this.#expanded };
    const signature = signatureOf(row, looks);
    const known = this.#known.get(row.uid);
    if (known?.signature === signature) return known.element;
    const acts = { ...this.#hooks.acts, more: (/** @type {string} */ uid) => this.#toggle(uid) };
    const element = rowElement(row, looks, acts);
    if (known) {
      const focused = known.element === document.activeElement;
      known.element.replaceWith(element);
      if (focused) element.focus({ preventScroll: true });
    }
    this.#known.set(row.uid, { element, signature, item: row.item, reactions: null, asOf: 0, clicks: -1 });
    this.#uids.set(element, row.uid);
    this.#fresh.push(element);
    return element;
  }

  /** Brings the reactions of a row up to date. @param {any} row @param {HTMLElement} element */
  #chipped({ kind, uid, item }, element) {
    if (kind !== "message") return element;
    const { me, people, clicks, acts } = this.#hooks;
    const known = /** @type {Known} */ (this.#known.get(uid));
    const { reactions, asOf } = item;
    if (known.reactions === reactions && known.asOf === asOf && known.clicks === clicks.version) return element;
    Object.assign(known, { reactions, asOf, clicks: clicks.version });
    const chips = chipsOf(item, clicks, me);
    if (chips.length === 0 && !element.querySelector(".chip")) return element;
    renderChips(element, chips, (user) => people.calledHere(user), (emoji) => acts.react(item, emoji));
    return element;
  }

  /** Shows a long message whole, or its beginning. @param {string} uid */
  #toggle(uid) {
    if (!this.#expanded.delete(uid)) this.#expanded.add(uid);
    this.#render();
    this.#known.get(uid)?.element.querySelector(/** @type {"button"} */ (".more-text button"))?.focus();
  }

  #renderEdges() {
    const { timeline, loading, problem, name } = /** @type {Shown} */ (this.#shown);
    this.#tail.hidden = !timeline.hasNewer;
    const empty = timeline.all.length === 0;
    const state = problem ? "problem" : !timeline.loaded && empty ? "first" : timeline.hasOlder ? "more" : "start";
    const signature = `${state} ${problem} ${name} ${empty} ${loading === "before"}`;
    if (signature === this.#edgeState) return;
    this.#edgeState = signature;
    this.#edge.className = `edge edge-${state}`;
    if (state === "problem") this.#edge.replaceChildren(problemOf(problem, this.#hooks.onRetry));
    else if (state === "first") this.#edge.replaceChildren(...skeleton());
    else if (state === "more") this.#edge.replaceChildren(spinner());
    else this.#edge.replaceChildren(startOf(name, empty));
  }

  /** The first message in sight, and its place. */
  #anchor() {
    const { top } = this.#box.getBoundingClientRect();
    for (const element of this.#rows.children) {
      const place = element.getBoundingClientRect();
      if (place.bottom <= top || !element.matches(".message")) continue;
      return { uid: this.#uids.get(element) ?? "", top: place.top };
    }
    return null;
  }

  #scrolled() {
    if (!this.#shown) return;
    const { scrollHeight, scrollTop, clientHeight } = this.#box;
    const wasAtEnd = this.atEnd;
    this.atEnd = scrollHeight - scrollTop - clientHeight < NEAR_END_PX && !this.#shown.timeline.hasNewer;
    if (this.atEnd !== wasAtEnd) this.#hooks.onEnd();
    this.#ask();
  }

  #ask() {
    const { timeline, loading, problem } = /** @type {Shown} */ (this.#shown);
    if (loading || problem || !timeline.loaded) return;
    const { scrollHeight, scrollTop, clientHeight } = this.#box;
    if (timeline.hasOlder && scrollTop < ASK_PX) this.#hooks.onOlder();
    else if (timeline.hasNewer && scrollHeight - scrollTop - clientHeight < ASK_PX) this.#hooks.onNewer();
  }

  /** Somebody may want to act on a message. @param {Event} event */
  #wanted(event) {
    const row = /** @type {Element} */ (event.target).closest(".message");
    const item = row && this.#known.get(this.#uids.get(row) ?? "")?.item;
    if (item) equip(row, item, this.#hooks.acts);
  }

  /** Puts the buttons of the focused message, and of no other, into the tab order. @param {FocusEvent} event */
  #focused(event) {
    const row = /** @type {Element} */ (event.target).closest(".message");
    const buttons = (/** @type {Element|null|undefined} */ of) => of?.querySelectorAll(".actions button, .chip") ?? [];
    for (const button of buttons(this.#reached)) button.setAttribute("tabindex", "-1");
    for (const button of buttons(row)) button.setAttribute("tabindex", "0");
    this.#reached = row;
  }
}
