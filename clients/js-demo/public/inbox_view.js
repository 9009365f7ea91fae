/** The inbox on the page: the channels that the user follows, with their last message and what is unread. */

import { countOn } from "./channels.js";
import { byId, el, icon } from "./dom.js";
import { channelLabel, dayOf, nameOf, timeOf } from "./format.js";
import { spinner } from "./list_edges.js";

/**
 * @typedef {import("./inbox.js").Entry} Entry
 * @typedef {{open(channel: string): void, unfollow(channel: string): void, more(): void}} Acts
 * @typedef {{entries: Entry[], loaded: boolean, hasMore: boolean, isReading: boolean}} Page `hasMore`: the server has
 *   further entries. `isReading`: they are on their way
 */

const HOW =
  "Follow a channel with the star in its header. Its last message, and how much is unread, stand here on every device.";

/** @type {Map<string, {element: HTMLElement, signature: string}>} by channel */
const known = new Map();

/** @param {Page} page @param {string} me @param {Acts} acts */
export function renderInbox({ entries, loaded, hasMore, isReading }, me, acts) {
  const view = byId("inbox");
  if (!loaded && entries.length === 0) return void view.replaceChildren(spinner("Loading the inbox"));
  if (entries.length === 0 && !hasMore) return void view.replaceChildren(empty());
  const list = view.querySelector(".entries") ?? el("ul", { class: "entries" });
  if (list.parentNode !== view) view.replaceChildren(list, moreOf(acts));
  showMore(/** @type {any} */ (view.lastElementChild), hasMore, isReading);
  const items = entries.map((entry) => itemOf(entry, me, acts));
  const same = items.length === list.children.length && items.every((each, place) => list.children[place] === each);
  if (same) return;
  const focused = /** @type {any} */ (document.activeElement);
  list.replaceChildren(...items);
  if (focused?.isConnected) focused.focus({ preventScroll: true });
}

/** @param {Acts} acts */
function moreOf({ more }) {
  const attributes = { type: "button", class: "button", "data-testid": "inbox-more", onclick: more };
  return el("div", { class: "more-entries" }, el("button", attributes));
}

/** @param {any} box @param {boolean} hasMore @param {boolean} isReading */
function showMore(box, hasMore, isReading) {
  const button = box.firstElementChild;
  if (!hasMore && button === document.activeElement) byId("inbox").focus({ preventScroll: true });
  box.hidden = !hasMore;
  button.ariaDisabled = String(isReading);
  const label = isReading ? "Loading…" : "Show more";
  if (button.textContent !== label) button.textContent = label;
}

function empty() {
  return el(
    "div",
    { class: "inbox-empty", "data-testid": "inbox-empty" },
    icon("star"),
    el("h2", { text: "Nothing to follow up" }),
    el("p", { text: HOW }),
  );
}

/** @param {Entry} entry @param {string} me @param {Acts} acts */
function itemOf(entry, me, acts) {
  const { channel, last, unread, mentions } = entry;
  const signature = JSON.stringify([last, unread, mentions, last && whenOf(last.at)]);
  const old = known.get(channel);
  if (old?.signature === signature) return old.element;
  const label = channelLabel(channel);
  const button = { type: "button", class: "entry-open", "data-testid": "inbox-entry", "data-channel": channel };
  const open = el(
    "button",
    { ...button, onclick: () => acts.open(channel) },
    el("span", { class: "entry-mark", "aria-hidden": "true", text: "#" }),
    el("span", { class: "entry-name", text: label }),
    el("span", { class: "entry-time", text: last ? whenOf(last.at) : "" }),
    el("span", { class: "entry-last" }, ...lastOf(last, me)),
    el(
      "span",
      { class: "entry-badges" },
      countOn(el("span", { class: "badge mention", "data-testid": "entry-mentions" }), mentions, "mentions", "@"),
      countOn(el("span", { class: "badge", "data-testid": "entry-unread" }), unread, "unread"),
    ),
  );
  const away = `Unfollow ${label}`;
  const attributes = { type: "button", class: "icon-button unfollow", title: away, "data-testid": "unfollow" };
  const element = el(
    "li",
    { class: unread > 0 ? "entry unread" : "entry" },
    open,
    el("button", { ...attributes, "aria-label": away, onclick: () => acts.unfollow(channel) }, icon("star")),
  );
  known.set(channel, { element, signature });
  return element;
}

/** @param {import("./inbox.js").Last|null} last @param {string} me */
function lastOf(last, me) {
  if (!last) return [el("span", { class: "gone", text: "No messages yet" })];
  if (last.deleted) return [el("span", { class: "gone", text: "Message deleted" })];
  const { author, text = "" } = last;
  const called = !author ? "" : author.id === me ? "You" : nameOf(author);
  return [el("bdi", { text: called }), ": ", el("bdi", { text: text.replaceAll(/\s+/g, " ") })];
}

/** The time of today, else the day. @param {string} at */
function whenOf(at) {
  const ms = Date.parse(at);
  const day = dayOf(ms, Date.now());
  return day === "Today" ? timeOf(ms) : day;
}
