/** One row of the page: a message, a day, or the line above the unread messages. */

import { el, icon } from "./dom.js";
import { hue, initials, linkParts, timeOf, wholeTimeOf } from "./format.js";

/**
 * @typedef {import("./timeline.js").Item} Item
 * @typedef {(item: Item) => void} Act
 * @typedef {{edit: Act, remove: Act, retry: Act, discard: Act}} Acts
 */

/** The content of a row as one text, to find unchanged rows. @param {any} row @param {string|null} editing */
export function signatureOf(row, editing) {
  if (row.kind !== "message") return `${row.kind} ${row.label}`;
  const { id, offset, text, at, author, edited, deleted, state, reason } = row.item;
  const facts = [id, offset, text, at, author?.name, edited, deleted, state, reason, row.first, id === editing];
  return JSON.stringify(facts);
}

/** @param {any} row @param {string} me @param {string|null} editing @param {Acts} acts */
export function rowElement(row, me, editing, acts) {
  if (row.kind !== "message") {
    return el("li", { class: `line line-${row.kind}` }, el("span", { text: row.label }));
  }
  const { item, first } = row;
  const own = item.author?.id === me;
  const marks = [
    first && "first",
    own && "own",
    item.deleted && "deleted",
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
    first ? avatar(item.author.id, item.author.name) : gutterTime(item),
    el("div", { class: "body" }, first ? heading(item) : null, content(item), status(item, acts)),
    own && item.state === "sent" && !item.deleted ? actions(item, acts) : null,
  );
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

/** @param {Item} item */
function heading(item) {
  return el("div", { class: "heading" }, el("span", { class: "author", text: item.author?.name }), time(item));
}

/** @param {Item} item */
function content(item) {
  const text = el("span", { class: "text", dir: "auto", "data-testid": "message-text" });
  if (item.deleted) {
    text.textContent = "Message deleted";
    return text;
  }
  for (const part of linkParts(item.text)) text.append(part.href ? link(part) : part.text);
  return el("div", { class: "content" }, text, item.edited ? el("span", { class: "edited", text: "edited" }) : null);
}

/** @param {{text: string, href?: string}} part */
function link({ text, href }) {
  return el("a", { href, target: "_blank", rel: "noopener noreferrer nofollow", text });
}

/** @param {Item} item @param {Acts} acts */
function status(item, acts) {
  if (item.state === "pending") {
    return el("div", { class: "status" }, icon("clock"), el("span", { text: "Sending…" }));
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

/** @param {Item} item @param {Acts} acts */
function actions(item, acts) {
  const button = (/** @type {any} */ name, /** @type {string} */ label, /** @type {Function} */ act, more = {}) =>
    el(
      "button",
      { type: "button", tabindex: "-1", "aria-label": label, title: label, onclick: act, ...more },
      icon(name),
    );
  return el(
    "div",
    { class: "actions", role: "group", "aria-label": "Message actions" },
    button("more", "Message actions", toggleMenu, { class: "more" }),
    el(
      "span",
      { class: "menu" },
      button("edit", "Edit message", () => acts.edit(item), { "data-testid": "edit" }),
      button("trash", "Delete message", () => acts.remove(item), { "data-testid": "delete", class: "danger" }),
    ),
  );
}

/** On a touch screen the menu opens by its button. @param {Event} event */
function toggleMenu(event) {
  const row = /** @type {Element} */ (event.target).closest(".message");
  openMenu(row?.classList.contains("menu-open") ? null : row);
}

/** Opens a row's menu and closes any other. @param {Element|null|undefined} row */
export function openMenu(row) {
  for (const open of document.querySelectorAll(".menu-open")) if (open !== row) open.classList.remove("menu-open");
  row?.classList.add("menu-open");
}
