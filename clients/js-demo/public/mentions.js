/** Mentions of people in a text: completed in the composer, sent with it, and highlighted for its readers. Pure. */

import { nameOf } from "./format.js";

const OFFERED = 6; // people that are offered at a time
const NAME_CHARS = 60; // behind an @ that is still looked at
const MENTIONS_LIMIT = 50; // of a message, as the protocol counts them
const WORD = /[\p{L}\p{N}_]/u;

/** @typedef {import("./people.js").Person} Person */

/**
 * The mention that is being written at the caret: `start` is the place of its @, `query` the text behind it.
 * @param {string} text @param {number} caret @returns {{start: number, query: string}|null}
 */
export function queryAt(text, caret) {
  const start = caret > 0 ? text.lastIndexOf("@", caret - 1) : -1;
  if (start < 0 || caret - start > NAME_CHARS || !beginsAt(text, start)) return null;
  const query = text.slice(start + 1, caret);
  return /[\n@]|^\s/.test(query) ? null : { start, query };
}

/** The people to offer: first those whose name begins so. @param {Iterable<Person>} people @param {string} query */
export function offered(people, query) {
  const wanted = query.toLowerCase();
  /** @type {Person[][]} */ const found = [[], []];
  for (const person of people) {
    const name = nameOf({ id: person.user, name: person.name }).toLowerCase();
    if (name.startsWith(wanted)) found[0].push(person);
    else if (name.split(/[\s._-]+/).some((word) => word.startsWith(wanted))) found[1].push(person);
  }
  return found.flat().slice(0, OFFERED);
}

/**
 * Puts a name in the place of the mention that is being written.
 * @param {string} text @param {number} caret @param {number} start @param {string} name
 */
export function completed(text, caret, start, name) {
  const rest = text.slice(caret);
  const head = `${text.slice(0, start)}@${name}${/^\s/.test(rest) ? "" : " "}`;
  return { text: head + rest, caret: head.length + (/^\s/.test(rest) ? 1 : 0) };
}

/** The ids of the people that a text mentions. @param {string} text @param {Iterable<Person>} people */
export function mentionedIn(text, people) {
  const users = mentionParts(text, people).flatMap(({ user }) => (user === undefined ? [] : [user]));
  return [...new Set(users)].slice(0, MENTIONS_LIMIT);
}

/**
 * Cuts a text at the names behind an @; the parts, joined, are the text. The longest name wins, and of two people with
 * one name the first.
 * @param {string} text @param {Iterable<Person>} people @returns {{text: string, user?: string}[]}
 */
export function mentionParts(text, people) {
  if (!text.includes("@")) return [{ text }];
  const named = [...people].map(({ user, name }) => ({ user, name: nameOf({ id: user, name }) }));
  named.sort((a, b) => b.name.length - a.name.length); // stable: the first of two namesakes stays the first
  /** @type {{text: string, user?: string}[]} */ const parts = [];
  let end = 0;
  for (let at = text.indexOf("@"); at >= 0; at = text.indexOf("@", at + 1)) {
    const person = at >= end && beginsAt(text, at) ? named.find(({ name }) => standsAt(text, at + 1, name)) : undefined;
    if (!person) continue;
    const until = at + 1 + person.name.length;
    if (at > end) parts.push({ text: text.slice(end, at) });
    parts.push({ text: text.slice(at, until), user: person.user });
    end = until;
  }
  if (end < text.length) parts.push({ text: text.slice(end) });
  return parts;
}

/** Whether an @ begins a mention, and is not a part of an address. @param {string} text @param {number} at */
function beginsAt(text, at) {
  return at === 0 || !WORD.test(text[at - 1]);
}

/** @param {string} text @param {number} at @param {string} name */
function standsAt(text, at, name) {
  const until = at + name.length;
  if (name === "" || text.slice(at, until).toLowerCase() !== name.toLowerCase()) return false;
  return until === text.length || !WORD.test(text[until]);
}
