/** The members of the channel: at the side, or in a drawer, and their number in the header. */

import { byId, el } from "./dom.js";
import { namesakes } from "./format.js";
import { avatar } from "./message_row.js";
import { sortedMembers } from "./people.js";

/** @type {Map<string, HTMLElement>} by user */
const known = new Map();

/**
 * @param {{members: Iterable<import("./people.js").Person>, count: number}} presence `members`: those whose names are
 *   told; in a channel of many, some of them
 * @param {string} me
 */
export function renderMembers({ members, count }, me) {
  const rows = sortedMembers(members, me);
  const shown = Math.max(count, rows.length);
  const alike = namesakes(rows.map(({ user, name }) => ({ author: { id: user, name } })));
  byId("members-count").textContent = shown > 0 ? String(shown) : "";
  byId("header-count").textContent = shown > 0 ? brief(shown) : "";
  const here = shown === 1 ? ": 1 is here" : `: ${shown} are here`;
  byId("open-members").ariaLabel = `Members${shown > 0 ? here : ""}`;
  const list = byId("member-list");
  const items = rows.map((row) => item(row, alike.has(row.user)));
  const hidden = shown - rows.length;
  const more = rows.length > 0 ? `and ${hidden} more` : `${shown} people`;
  if (hidden > 0) items.push(el("li", { class: "more", text: more }));
  const same = items.length === list.children.length && items.every((each, place) => list.children[place] === each);
  if (!same) list.replaceChildren(...items);
  const there = new Set(rows.map(({ user }) => user));
  for (const user of known.keys()) if (!there.has(user)) known.delete(user);
}

/** @param {{user: string, name: string, own: boolean}} row @param {boolean} withId */
function item({ user, name, own }, withId) {
  const signature = `${name} ${withId}`;
  const old = known.get(user);
  if (old?.dataset.signature === signature) return old;
  const element = el(
    "li",
    { class: "member", "data-testid": "member", "data-user": user, "data-signature": signature },
    avatar(user, name),
    el("bdi", { class: "member-name", title: user, text: name }),
    withId && !own ? el("bdi", { class: "member-id", title: user, text: user }) : null,
    own ? el("span", { class: "you", text: "you" }) : null,
  );
  known.set(user, element);
  return element;
}

/** A number that fits into the header. @param {number} count */
function brief(count) {
  return count < 1_000 ? String(count) : `${(Math.floor(count / 100) / 10).toFixed(1).replace(".0", "")}k`;
}
