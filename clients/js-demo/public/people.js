/** The people that the page has heard of: authors and members, by their ids. Pure, and bounded. */

import { nameOf } from "./format.js";

const PEOPLE_LIMIT = 5_000; // the first that were heard of go

const collator = new Intl.Collator(undefined, { sensitivity: "base", numeric: true });

/** @typedef {{user: string, name?: string|null}} Person */

export class People {
  #me;
  /** @type {Map<string, string>} */ #names = new Map();

  /** @param {string} me */
  constructor(me) {
    this.#me = me;
  }

  /** @param {string} user @param {string|null} [name] */
  heard(user, name) {
    if (!name || this.#names.get(user) === name) return;
    this.#names.set(user, name);
    if (this.#names.size > PEOPLE_LIMIT) this.#names.delete(this.#names.keys().next().value ?? "");
  }

  /** @param {{id: string, name?: string|null}|null|undefined} author */
  heardOf(author) {
    if (author) this.heard(author.id, author.name);
  }

  /** What a user is called; the id, if nothing was heard of a name. @param {string} user */
  nameOf(user) {
    return nameOf({ id: user, name: this.#names.get(user) });
  }

  /** As `nameOf`, but "You" for the user of the page. @param {string} user */
  calledHere(user) {
    return user === this.#me ? "You" : this.nameOf(user);
  }
}

/**
 * The members of a channel in the order of the page: oneself, then the others by their names.
 * @param {Iterable<Person>} members @param {string} me @returns {{user: string, name: string, own: boolean}[]}
 */
export function sortedMembers(members, me) {
  const rows = [...members].map(({ user, name }) => ({ user, name: nameOf({ id: user, name }), own: user === me }));
  const byName = (/** @type {any} */ a, /** @type {any} */ b) => collator.compare(a.name, b.name);
  return rows.sort((a, b) => Number(b.own) - Number(a.own) || byName(a, b) || (a.user < b.user ? -1 : 1));
}

/** "Ann", "Ann and Bob", "Ann, Bob and Cy". @param {string[]} names */
export function listOf(names) {
  const last = names.at(-1) ?? "";
  return names.length < 2 ? last : `${names.slice(0, -1).join(", ")} and ${last}`;
}

const TYPISTS_SHOWN = 3;

/** The line under the messages: up to three names. @param {string[]} names of those who type */
export function typingText(names) {
  if (names.length === 0) return "";
  if (names.length > TYPISTS_SHOWN) return "Several people are typing…";
  return `${listOf(names)} ${names.length === 1 ? "is" : "are"} typing…`;
}

/** The line for people who have come or gone a moment ago. @param {string[]} names @param {boolean} here */
export function movedText(names, here) {
  if (names.length === 0) return "";
  if (names.length > TYPISTS_SHOWN) return `${names.length} people ${here ? "are here" : "have left"}`;
  const verb = names.length === 1 ? (here ? "is" : "has") : here ? "are" : "have";
  return `${listOf(names)} ${verb} ${here ? "here" : "left"}`;
}
