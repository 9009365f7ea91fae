/**
 * The scrolling list of one channel. While messages come and go on either side, the message that the reader looks at
 * stays in its place. At the end the list follows new messages. Before an edge is reached, it asks for the next page.
 */

import { el } from "./dom.js";
import { rowsOf } from "./format.js";
import { problemOf, skeleton, spinner, startOf } from "./list_edges.js";
import { openMenu, rowElement, settleLength, signatureOf } from "./message_row.js";
import { Timeline } from "./timeline.js";

const NEAR_END_PX = 48; // this close to the end, the reader follows it
const ASK_PX = 800; // this close to an edge, the next page is asked for: about a screen ahead
const LONG_PRESS_MS = 450;
const LATE_FRAME_MS = 120; // a hidden page gets no animation frames: render without

/**
 * @typedef {{me: string, acts: import("./message_row.js").Acts, onOlder(): void, onNewer(): void, onRetry(): void,
 *            onEnd(): void}} Hooks
 * @typedef {{name: string, timeline: Timeline, loading: ""|"latest"|"before"|"after", problem: string,
 *            unreadAfter: number}} Shown
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
  /** @type {Map<string, {element: HTMLElement, signature: string}>} */ #known = new Map();
  /** @type {WeakMap<Element, string>} */ #uids = new WeakMap();
  /** @type {Element[]} rows that were made anew */ #fresh = [];
  /** @type {Set<string>} uids of the long messages that are shown whole */ #expanded = new Set();
  #edgeState = "";
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
    box.addEventListener("keydown", (event) => this.#key(event));
    box.addEventListener("focusin", (event) => this.#focused(event));
    this.#listenForLongPress();
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
    const { timeline, unreadAfter, loading } = this.#shown;
    // A screen reader announces new messages, and is silent while pages of history are read.
    this.#box.setAttribute("aria-busy", String(loading !== "" || !this.atEnd));
    this.#place(rowsOf(timeline.all, Date.now(), unreadAfter));
    this.#renderEdges();
    const kept = anchor && this.#known.get(anchor.uid)?.element; // by id: its element may have been replaced
    if (kept) this.#box.scrollTop += kept.getBoundingClientRect().top - anchor.top;
    else if (this.atEnd) this.toEnd();
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
    const elements = rows.map((row) => this.#element(row)); // before the walk, as it may replace children
    /** @type {Element|null} */ let next = this.#rows.firstElementChild;
    for (const element of elements) {
      if (element === next) next = next.nextElementSibling;
      else this.#rows.insertBefore(element, next);
    }
    for (const element of this.#fresh.splice(0)) settleLength(element);
  }

  /** @param {any} row */
  #element(row) {
    const looks = { editing: this.#editing, expanded: this.#expanded };
    const signature = signatureOf(row, looks);
    const known = this.#known.get(row.uid);
    if (known?.signature === signature) return known.element;
    const acts = { ...this.#hooks.acts, more: (/** @type {string} */ uid) => this.#toggle(uid) };
    const element = rowElement(row, this.#hooks.me, looks, acts);
    if (known) {
      const focused = known.element === document.activeElement;
      known.element.replaceWith(element);
      if (focused) element.focus({ preventScroll: true });
    }
    this.#known.set(row.uid, { element, signature });
    this.#uids.set(element, row.uid);
    this.#fresh.push(element);
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

  /** Arrows move the focus from message to message. @param {KeyboardEvent} event */
  #key(event) {
    const steps = { ArrowUp: "previousElementSibling", ArrowDown: "nextElementSibling" };
    const step = /** @type {"nextElementSibling"|undefined} */ (/** @type {any} */ (steps)[event.key]);
    if (!step || event.altKey || event.ctrlKey || event.metaKey) return;
    const row = /** @type {Element} */ (event.target).closest("li");
    let next = /** @type {any} */ (row ? row[step] : this.#rows.lastElementChild);
    while (next && !next.matches(".message")) next = next[step];
    if (!next) return;
    event.preventDefault();
    next.focus();
  }

  /** Puts the buttons of the focused message, and of no other, into the tab order. @param {FocusEvent} event */
  #focused(event) {
    const row = /** @type {Element} */ (event.target).closest(".message");
    for (const button of this.#rows.querySelectorAll(".actions [tabindex='0']")) button.setAttribute("tabindex", "-1");
    for (const button of row?.querySelectorAll(".actions button") ?? []) button.setAttribute("tabindex", "0");
  }

  #listenForLongPress() {
    let timer = 0;
    const cancel = () => clearTimeout(timer);
    this.#box.addEventListener("pointerdown", (event) => {
      const target = /** @type {Element} */ (event.target);
      if (!target.closest(".actions")) openMenu(null);
      if (event.pointerType !== "touch") return;
      const row = target.closest(".message");
      if (row?.querySelector(".menu")) timer = window.setTimeout(() => openMenu(row), LONG_PRESS_MS);
    });
    for (const name of ["pointerup", "pointercancel", "pointermove"]) this.#box.addEventListener(name, cancel);
  }
}
