/** Reactions to messages on the page: the state of the log, and on top the own clicks that are under way. Pure. */

import { listOf } from "./people.js";

/** The six of the picker, with their names for people who do not see them. */
export const EMOJIS = /** @type {const} */ ([
  ["👍", "Thumbs up"],
  ["❤️", "Heart"],
  ["😂", "Laughing"],
  ["🎉", "Party"],
  ["👀", "Eyes"],
  ["🙏", "Thank you"],
]);

const MESSAGES_KEPT = 500; // that were clicked on

/**
 * @typedef {Record<string, {count: number, users: string[]}>} Reactions the whole state of a message; `users` are the
 *   first ten
 * @typedef {{emoji: string, count: number, own: boolean, users: string[]}} Chip
 * @typedef {{on: boolean, offset: number|null}} Click `offset`: of the answer; null while there is none
 */

export class Clicks {
  version = 0; // changes with each click, and with its answer
  /** @type {Map<string, Map<string, Click>>} by message, by emoji */ #clicks = new Map();

  /** A click that has no answer yet. @param {string} id @param {string} emoji @param {boolean} on */
  begin(id, emoji, on) {
    this.version += 1;
    const clicks = this.#clicks.get(id) ?? new Map();
    this.#clicks.set(id, clicks.set(emoji, { on, offset: null }));
    if (this.#clicks.size > MESSAGES_KEPT) this.#clicks.delete(this.#clicks.keys().next().value ?? "");
  }

  /** The log has it, as of an offset. @param {string} id @param {string} emoji @param {number} offset */
  done(id, emoji, offset) {
    const click = this.#clicks.get(id)?.get(emoji);
    if (click) click.offset = offset;
    this.version += 1;
  }

  /** @param {string} id @param {string} emoji */
  failed(id, emoji) {
    this.#clicks.get(id)?.delete(emoji);
    this.version += 1;
  }

  /** @param {string|null} id @returns {Map<string, Click>|undefined} */
  of(id) {
    return this.#clicks.get(id ?? "");
  }
}

/**
 * The chips under a message, in the order of the log. Of many users only the first are named: whether oneself is among
 * the others is known from one's own click alone.
 * @param {{id: string|null, reactions: Reactions, asOf: number}} item @param {Clicks} clicks @param {string} me
 * @returns {Chip[]}
 */
export function chipsOf({ id, reactions, asOf }, clicks, me) {
  const clicked = clicks.of(id);
  const emojis = new Set([...Object.keys(reactions), ...(clicked?.keys() ?? [])]);
  const chips = [...emojis].map((emoji) => {
    const { count, users } = reactions[emoji] ?? { count: 0, users: [] };
    const named = users.includes(me);
    const allNamed = count <= users.length;
    const click = clicked?.get(emoji);
    const isNews = click && !(allNamed && click.offset !== null && asOf >= click.offset);
    const own = isNews ? click.on : named;
    const others = users.filter((user) => user !== me);
    const shown = allNamed ? others.length + Number(own) : count;
    return { emoji, count: shown, own, users: own ? [me, ...others] : others };
  });
  return chips.filter(({ count }) => count > 0);
}

/**
 * "Ann, Bob and 3 others reacted with 👍". @param {Chip} chip @param {(user: string) => string} called
 */
export function chipText({ emoji, count, users }, called) {
  const more = count - users.length;
  const names = users.map(called);
  if (more > 0) names.push(more === 1 ? "1 other" : `${more} others`);
  return `${listOf(names)} reacted with ${emoji}`;
}
