/** One row of the page: a message, a day, or the line above the unread messages. */

import { el, icon } from "./dom.js";
import { hue, initials, isLong, linkParts, nameOf, timeOf, wholeTimeOf } from "./format.js";
import { mentionParts } from "./mentions.js";
import { toggleMenu } from "./row_menu.js";

/**
 * @typedef {import("./timeline.js").Item} Item
 * @typedef {(item: Item) => void} Act
 * @typedef {{edit: Act, remove: Act, retry: Act, discard: Act, pick(item: Item, button: Element): void}} Acts
 * @typedef {{me: string, editing: string|null, expanded: Set<string>, people: import("./people.js").People}} Looks
 *   `editing`: id of the message in the composer. `expanded`: uids of the long messages that are shown whole
 */

/** A row without its reactions, as one text: to find unchanged rows. @param {any} row @param {Looks} looks */
export function signatureOf(row, { editing, expanded, people }) {
  if (row.kind !== "message") return `${row.kind} ${row.label}`;
  const { id, offset, text, at, author, edited, deleted, state, reason, mentions } = row.item;
  const facts = [id, offset, text, at, author?.name, edited, deleted, state, reason, row.first, id === editing];
  const names = mentions.length > 0 ? mentions.map((/** @type {string} */ user) => people.nameOf(user)) : mentions;
  return JSON.stringify([...facts, row.withId, expanded.has(row.uid), ...names]);
}

/** @param {any} row @param {Looks} looks @param {Acts & {more: (uid: string) => void}} acts */
export function rowElement(row, looks, acts) {
  const { me, editing, expanded } = looks;
  if (row.kind !== "message") {
    return el("li", { class: `line line-${row.kind}` }, el("span", { text: row.label }));
  }
  const { item, first } = row;
  const own = item.author?.id === me;
  const marks = [
    first && "first",
    own && "own",
    item.deleted && "deleted",
    !own && item.mentions.includes(me) && !item.deleted && "for-me",
    item.state === "pending" && item.reason && "delayed",
    item.id && item.id === editing && "editing",
  ];
  return el(
    "li",
    {
      class: ["message", item.state, ...marks].filter(Boolean).join(" "),
      tabindex: "-1",
      "data-testid": "message",
      "data-id": item.id,
      "data-offset": item.offset || null,
      "data-state": item.state,
      "data-deleted": String(item.deleted),
    },
    first ? avatar(item.author.id, nameOf(item.author)) : gutterTime(item),
    el(
      "div",
      { class: "body" },
      first ? heading(row) : null,
      ...content(item, looks, expanded.has(row.uid), () => acts.more(row.uid)),
      status(item, acts),
    ),
    own && isActable(item) ? actions(item, own, acts) : null,
  );
}

/** @param {Item} item */
function isActable(item) {
  return item.state === "sent" && !item.deleted;
}

/**
 * Gives a message of somebody else its buttons, when they are wanted: 500 rows with buttons would be slow to draw.
 * @param {Element} row @param {Item} item @param {Acts} acts
 */
export function equip(row, item, acts) {
  if (isActable(item) && !row.querySelector(".actions")) row.append(actions(item, false, acts));
}

/** @param {string} user @param {string} name */
export function avatar(user, name) {
  return el("span", { class: `avatar hue-${hue(user)}`, "aria-hidden": "true", text: initials(name) });
}

/** @param {Item} item */
function time(item) {
  if (item.at === null) return null;
  const datetime = new Date(item.at).toISOString();
  return el("time", { datetime, title: wholeTimeOf(item.at), text: timeOf(item.at) });
}

/** @param {Item} item */
function gutterTime(item) {
  return el("span", { class: "gutter" }, item.deleted ? null : time(item));
}

/** The author and the time; the id too, if the name is not enough. Names are isolated: each ends its own direction. */
function heading(/** @type {any} */ { item, withId }) {
  const { id } = item.author;
  const name = el("bdi", { class: "author", title: id, "data-testid": "author", text: nameOf(item.author) });
  const which = withId ? el("bdi", { class: "author-id", title: id, "data-testid": "author-id", text: id }) : null;
  return el("div", { class: "heading" }, name, which, time(item));
}

/** @param {Item} item @param {Looks} looks @param {boolean} expanded @param {() => void} more */
function content(item, looks, expanded, more) {
  const text = el("span", { class: "text", dir: "auto", "data-testid": "message-text" });
  if (item.deleted) {
    text.textContent = "Message deleted";
    return [text];
  }
  const mentioned = item.mentions.map((user) => ({ user, name: looks.people.nameOf(user) }));
  for (const part of linkParts(item.text)) {
    if (part.href) text.append(link(part));
    else text.append(...mentionParts(part.text, mentioned).map((each) => mention(each, looks.me)));
  }
  const edited = item.edited ? el("span", { class: "edited", text: "edited" }) : null;
  if (!isLong(item.text)) return [el("div", { class: "content" }, text, edited)];
  if (!expanded) text.classList.add("clamped");
  const label = expanded ? "Show less" : "Show more";
  const button = el("button", { type: "button", class: "link-button", "data-testid": "more", text: label, onclick: more });
  return [el("div", { class: "content" }, text, edited), el("div", { class: "more-text" }, button)];
}

/** Takes the button off a message that is shown whole as it is. @param {Element} row a row in the page */
export function settleLength(row) {
  const text = row.querySelector(".text.clamped");
  if (text && text.scrollHeight <= text.clientHeight + 1) row.querySelector(".more-text")?.remove();
}

/** @param {{text: string, user?: string}} part @param {string} me */
function mention({ text, user }, me) {
  if (user === undefined) return text;
  const own = user === me ? "mention own" : "mention";
  return el("bdi", { class: own, title: user, "data-testid": "mention", "data-user": user, text });
}

/** @param {{text: string, href?: string, shown?: string}} part */
function link({ text, href, shown = text }) {
  return el("a", { href, title: href, target: "_blank", rel: "noopener noreferrer nofollow", text: shown });
}

/** @param {Item} item @param {Acts} acts */
function status(item, acts) {
  if (item.state === "pending") {
    return el("div", { class: "status" }, icon("clock"), el("span", { text: item.reason || "Sending…" }));
  }
  if (item.state !== "failed") return null;
  return el(
    "div",
    { class: "status", role: "alert" },
    icon("alert"),
    el("span", { text: `Not sent: ${item.reason}` }),
    el("button", { type: "button", "data-testid": "retry", text: "Retry", onclick: () => acts.retry(item) }),
    el("button", { type: "button", "data-testid": "discard", text: "Discard", onclick: () => acts.discard(item) }),
  );
}

/** @param {Item} item @param {boolean} own @param {Acts} acts */
function actions(item, own, acts) {
  const button = (/** @type {any} */ name, /** @type {string} */ label, /** @type {Function} */ act, more = {}) =>
    el(
      "button",
      { type: "button", tabindex: "-1", "aria-label": label, title: label, onclick: act, ...more },
      icon(name),
    );
  const edit = () => button("edit", "Edit message", () => acts.edit(item), { "data-testid": "edit" });
  const danger = { "data-testid": "delete", class: "danger" };
  const trash = () => button("trash", "Delete message", () => acts.remove(item), danger);
  const pick = (/** @type {Event} */ event) => acts.pick(item, /** @type {Element} */ (event.currentTarget));
  return el(
    "div",
    { class: "actions", role: "group", "aria-label": "Message actions" },
    button("more", "Message actions", toggleMenu, { class: "more" }),
    el(
      "span",
      { class: "menu" },
      button("smile", "Add a reaction", pick, { "data-testid": "react", "aria-haspopup": "true" }),
      ...(own ? [edit(), trash()] : []),
    ),
  );
}
