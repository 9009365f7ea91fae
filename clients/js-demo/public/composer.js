/** The field to write in: it grows with its text, keeps a draft per channel, and edits messages too. */

import { byId } from "./dom.js";
import { MentionBox } from "./mention_box.js";
import { mentionedIn } from "./mentions.js";

const TEXT_LIMIT = 4_000; // characters of a message, as the protocol counts them
const CONTROLS = /[\0-\x08\x0b-\x1f\x7f-\x9f]/g; // a paste may bring them, and the server refuses them
const COUNT_FROM = 3_600; // from this length on, the characters left are shown

/**
 * @typedef {import("./timeline.js").Item} Item
 * @typedef {{send(text: string, mentions: string[]): void, edit(item: Item, text: string): Promise<boolean>,
 *            lastOwn(): Item|undefined, editing(id: string|null): void, typing(isTyping: boolean): void,
 *            people(): Iterable<import("./people.js").Person>}} Hooks
 *   `typing`: the user writes a new message, or has stopped. `people`: those who can be mentioned
 */

export class Composer {
  #form = byId("composer");
  #input = byId("composer-input");
  #send = byId("composer-send");
  #context = byId("composer-context");
  #counter = byId("composer-counter");
  #hooks;
  #mentions;
  /** @type {Map<string, string>} */ #drafts = new Map();
  #channel = "";
  /** @type {Item|null} */ #item = null;

  /** @param {Hooks} hooks */
  constructor(hooks) {
    this.#hooks = hooks;
    this.#mentions = new MentionBox(this.#input, () => hooks.people());
    this.#form.addEventListener("submit", (/** @type {Event} */ event) => {
      event.preventDefault();
      this.#submit();
    });
    this.#input.addEventListener("input", () => {
      this.#changed();
      if (!this.#item) hooks.typing(this.#text() !== "");
    });
    this.#input.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => this.#key(event));
    byId("composer-cancel").addEventListener("click", () => this.#stopEditing());
  }

  /** @param {string} channel @param {string} label @param {string} closed why nothing can be written, or "" */
  open(channel, label, closed) {
    if (channel !== this.#channel) {
      if (this.#item) this.#stopEditing();
      this.#drafts.set(this.#channel, this.#input.value);
      this.#channel = channel;
      this.#mentions.reset();
      this.#input.value = this.#drafts.get(channel) ?? "";
    }
    this.#input.placeholder = closed || `Message #${label}`;
    this.#input.disabled = closed !== "";
    this.#changed();
  }

  focus() {
    this.#input.focus({ preventScroll: true });
  }

  /** @param {Item} item */
  edit(item) {
    if (!this.#item) this.#drafts.set(this.#channel, this.#input.value);
    this.#item = item;
    this.#context.hidden = false;
    this.#input.value = item.text;
    this.#hooks.editing(item.id);
    this.#changed();
    this.focus();
    this.#input.setSelectionRange(item.text.length, item.text.length);
  }

  #stopEditing() {
    this.#item = null;
    this.#context.hidden = true;
    this.#input.value = this.#drafts.get(this.#channel) ?? "";
    this.#hooks.editing(null);
    this.#changed();
    this.focus();
  }

  async #submit() {
    const text = this.#text();
    if (!this.#sendable()) return;
    if (this.#item) {
      const item = this.#item;
      const done = text === item.text || (await this.#hooks.edit(item, text));
      if (done && this.#item === item) this.#stopEditing();
      return;
    }
    const mentions = mentionedIn(text, this.#mentions.people);
    this.#input.value = "";
    this.#mentions.reset();
    this.#changed();
    this.#hooks.send(text, mentions);
  }

  #text() {
    return this.#input.value.replace(CONTROLS, "").trim();
  }

  #sendable() {
    const text = this.#text();
    return text !== "" && [...text].length <= TEXT_LIMIT && !this.#input.disabled;
  }

  #changed() {
    const left = TEXT_LIMIT - [...this.#text()].length;
    this.#counter.textContent = left <= TEXT_LIMIT - COUNT_FROM ? String(left) : "";
    this.#counter.classList.toggle("over", left < 0);
    this.#send.disabled = !this.#sendable();
    this.#input.style.height = "auto";
    this.#input.style.height = `${this.#input.scrollHeight}px`;
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (this.#mentions.key(event)) return;
    // While a syllable is being composed (Korean, Japanese, Chinese), Enter ends it and sends nothing.
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      this.#submit();
    } else if (event.key === "Escape" && this.#item) {
      this.#stopEditing();
    } else if (event.key === "ArrowUp" && this.#input.value === "" && !this.#item) {
      const item = this.#hooks.lastOwn();
      if (!item) return;
      event.preventDefault();
      this.edit(item);
    }
  }
}
