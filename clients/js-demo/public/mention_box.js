/** The people that the composer offers behind an @: arrows move, Enter or Tab takes, Escape closes. */

import { byId, el } from "./dom.js";
import { nameOf } from "./format.js";
import { avatar } from "./message_row.js";
import { completed, offered, queryAt } from "./mentions.js";

/** @typedef {import("./people.js").Person} Person */

export class MentionBox {
  /** @type {Map<string, Person>} chosen from the list, by name: two people may share a name */ #picked = new Map();
  #input;
  #people;
  #list = byId("offers");
  /** @type {Person[]} */ #offered = [];
  #place = 0;
  #start = 0;
  #dismissedAt = -1; // the @ at which Escape was pressed

  /** @param {HTMLTextAreaElement} input @param {() => Iterable<Person>} people who can be mentioned */
  constructor(input, people) {
    this.#input = input;
    this.#people = people;
    input.addEventListener("input", () => this.#look());
    input.addEventListener("click", () => this.#look());
    input.addEventListener("blur", () => this.close());
  }

  /** Who can be mentioned: first those who were chosen from the list. */
  get people() {
    return [...this.#picked.values(), ...this.#people()];
  }

  /** The text is another text. */
  reset() {
    this.#picked.clear();
    this.#dismissedAt = -1;
    this.close();
  }

  close() {
    this.#offered = [];
    this.#list.hidden = true;
    for (const name of ["aria-controls", "aria-activedescendant"]) this.#input.removeAttribute(name);
  }

  /** @param {KeyboardEvent} event @returns {boolean} whether the key was for the list */
  key(event) {
    if (this.#offered.length === 0 || event.isComposing) return false;
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step !== undefined) this.#choose((this.#place + step + this.#offered.length) % this.#offered.length);
    else if (event.key === "Enter" || event.key === "Tab") this.#take(this.#offered[this.#place]);
    else if (event.key === "Escape") {
      this.#dismissedAt = this.#start;
      this.close();
    } else return false;
    event.preventDefault();
    return true;
  }

  #look() {
    const { value, selectionStart, selectionEnd } = this.#input;
    const found = selectionStart === selectionEnd ? queryAt(value, selectionStart) : null;
    if (found?.start !== this.#dismissedAt) this.#dismissedAt = -1;
    this.#offered = found && this.#dismissedAt < 0 ? offered(this.#people(), found.query) : [];
    if (!found || this.#offered.length === 0) return this.close();
    this.#start = found.start;
    this.#list.replaceChildren(...this.#offered.map((person, place) => this.#item(person, place)));
    this.#list.hidden = false;
    this.#input.setAttribute("aria-controls", "offers");
    this.#choose(0);
  }

  /** @param {Person} person @param {number} place */
  #item(person, place) {
    const name = nameOf({ id: person.user, name: person.name });
    const attributes = { class: "offer", role: "option", id: `offer-${place}`, "data-testid": "offer" };
    const take = (/** @type {Event} */ event) => {
      event.preventDefault(); // the composer keeps its focus
      this.#take(person);
    };
    const id = name === person.user ? null : el("bdi", { class: "quiet", text: person.user });
    return el("li", { ...attributes, onpointerdown: take }, avatar(person.user, name), el("bdi", { text: name }), id);
  }

  /** @param {number} place */
  #choose(place) {
    this.#place = place;
    for (const [index, item] of [...this.#list.children].entries()) {
      item.setAttribute("aria-selected", String(index === place));
    }
    this.#input.setAttribute("aria-activedescendant", `offer-${place}`);
  }

  /** @param {Person} person */
  #take(person) {
    const name = nameOf({ id: person.user, name: person.name });
    const { text, caret } = completed(this.#input.value, this.#input.selectionStart, this.#start, name);
    this.#picked.set(name, person);
    this.#input.value = text;
    this.#input.setSelectionRange(caret, caret);
    this.close();
    this.#input.dispatchEvent(new Event("input"));
  }
}
