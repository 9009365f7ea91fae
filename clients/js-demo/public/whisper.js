/**
 * The quiet line under the messages: people who type, or else people who have come or gone a moment ago. It is no live
 * region: a screen reader would never stop.
 */

import { byId, el } from "./dom.js";
import { movedText, typingText } from "./people.js";

const MOVED_MS = 4_000; // how long a coming or going is shown

export class Whisper {
  #typing = "";
  #moved = "";
  #timer = 0;
  /** @type {{joined: Set<string>, left: Set<string>}} */ #recent = { joined: new Set(), left: new Set() };

  /** @param {string[]} names of those who type */
  typing(names) {
    this.#typing = typingText(names);
    this.#render();
  }

  /** Somebody has come or gone. @param {string} name @param {boolean} here */
  moved(name, here) {
    const { joined, left } = this.#recent;
    (here ? left : joined).delete(name);
    (here ? joined : left).add(name);
    const [comers, goers] = [movedText([...joined], true), movedText([...left], false)];
    this.#moved = [comers, goers].filter(Boolean).join(" · ");
    clearTimeout(this.#timer);
    this.#timer = window.setTimeout(() => this.clear(), MOVED_MS);
    this.#render();
  }

  /** Forgets comings and goings: they are over, or of another channel. */
  clear() {
    clearTimeout(this.#timer);
    this.#recent = { joined: new Set(), left: new Set() };
    this.#moved = "";
    this.#render();
  }

  #render() {
    const line = byId("whisper");
    const text = this.#typing || this.#moved;
    if (line.textContent === text) return;
    const dots = () => el("span", { class: "dots", "aria-hidden": "true" }, el("i"), el("i"), el("i"));
    line.replaceChildren(...(text ? [...(this.#typing ? [dots()] : []), el("span", { text })] : []));
  }
}
