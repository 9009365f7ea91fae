/** The way to the first new message: a quiet button, while the line above that message is out of sight. */

import { byId, icon } from "./dom.js";

/** @typedef {import("./rooms.js").Room} Room */

export class FirstNew {
  #button = byId("first-unread");
  #box = byId("messages");
  #hooks;
  #isWanted = false; // somebody is on the way

  /** @param {{room(): Room, go(): void, load(): void}} hooks `go`: the list leaves its end. `load`: the line's page */
  constructor(hooks) {
    this.#hooks = hooks;
    this.#button.addEventListener("click", () => this.#go());
    this.#box.addEventListener("scroll", () => this.render(), { passive: true });
  }

  /** The list is on the page. */
  render() {
    const { timeline, reading } = this.#hooks.room();
    const line = this.#line;
    if (this.#isWanted && line) this.#show(line);
    const isAbove = line
      ? line.getBoundingClientRect().bottom < this.#box.getBoundingClientRect().top
      : timeline.loaded && (timeline.items.at(0)?.offset ?? 0) > reading.unreadAfter;
    if (line && !isAbove) reading.wasFound = true;
    const hidden = !isAbove || reading.wasFound;
    if (this.#button.hidden !== hidden) this.#button.hidden = hidden;
    if (hidden || this.#button.dataset.fresh === String(reading.fresh)) return;
    const news = reading.fresh === 1 ? "1 new message" : `${reading.fresh} new messages`;
    this.#button.dataset.fresh = String(reading.fresh);
    this.#button.replaceChildren(news, icon("up"));
    this.#button.ariaLabel = `${news}: go to the first`;
  }

  /** Another channel is on the page. */
  forget() {
    this.#isWanted = false;
  }

  /** @returns {Element|null} */
  get #line() {
    return this.#box.querySelector(".line-new");
  }

  #go() {
    this.#isWanted = true;
    this.#hooks.go();
    if (this.#line) this.render();
    else this.#hooks.load();
  }

  /** The line, and with the focus the message below it. @param {Element} line */
  #show(line) {
    this.#isWanted = false;
    line.scrollIntoView({ block: "center" });
    const first = /** @type {HTMLElement|null} */ (line.nextElementSibling);
    first?.focus({ preventScroll: true });
  }
}
