/** The list of channels at the side, and the dialog that adds one. */

import { byId, el, icon } from "./dom.js";
import { channelLabel, isChannelName } from "./format.js";

const COUNT_SHOWN = 99;

/**
 * @typedef {{name: string, unread: number, mentions: number, closed: string}} Listed
 * @typedef {(name: string) => void} Act
 * @param {Iterable<Listed>} channels @param {string} active the channel on the page, or ""
 * @param {{open: Act, leave: Act}} acts
 */
export function renderChannels(channels, active, acts) {
  const list = byId("channel-list");
  const known = new Map([...list.children].map((item) => [item.firstElementChild.dataset.channel, item]));
  const items = [...channels].map((channel) => {
    const item = known.get(channel.name) ?? channelItem(channel.name, acts);
    update(item.firstElementChild, channel, channel.name === active);
    return item;
  });
  // Only if the set has changed: a focused button that moves loses its focus.
  if (items.length !== list.children.length || items.some((item, place) => list.children[place] !== item)) {
    list.replaceChildren(...items);
  }
}

/** @param {string} name @param {{open: Act, leave: Act}} acts */
function channelItem(name, { open, leave }) {
  const label = `Leave ${channelLabel(name)}`;
  const button = el(
    "button",
    { type: "button", class: "channel", "data-testid": "channel", "data-channel": name, onclick: () => open(name) },
    el("span", { class: "hash", "aria-hidden": "true", text: "#" }),
    el("span", { class: "channel-name", text: channelLabel(name), title: name }),
    el("span", { class: "badge mention", "data-testid": "mentions" }),
    el("span", { class: "badge", "data-testid": "unread" }),
  );
  const attributes = { type: "button", class: "icon-button leave", "data-testid": "leave-channel", title: label };
  const away = el("button", { ...attributes, "aria-label": label, onclick: () => leave(name) }, icon("close"));
  return el("li", {}, button, away);
}

/** @param {any} button @param {Listed} channel @param {boolean} active */
function update(button, { unread, mentions, closed }, active) {
  countOn(button.querySelector("[data-testid=mentions]"), mentions, "mentions", "@");
  countOn(button.querySelector("[data-testid=unread]"), unread, "unread");
  button.classList.toggle("unread", unread > 0);
  button.classList.toggle("closed", closed !== "");
  if (active) button.setAttribute("aria-current", "page");
  else button.removeAttribute("aria-current");
}

/**
 * Puts a number on a badge; none hides it.
 * @template {Element} Badge
 * @param {Badge} badge @param {number} count @param {string} word of what, for a screen reader
 * @param {string} [sign] before the number
 */
export function countOn(badge, count, word, sign = "") {
  const text = count <= 0 ? "" : `${sign}${count > COUNT_SHOWN ? `${COUNT_SHOWN}+` : count}`;
  if (badge.textContent === text) return badge;
  badge.textContent = text;
  badge.setAttribute("role", "img"); // else it may have no label
  badge.setAttribute("aria-label", `${count} ${word}`);
  return badge;
}

/** @param {(name: string) => void} add called with a valid name */
export function listenForAdding(add) {
  const dialog = byId("add-dialog");
  const input = byId("add-name");
  const problem = byId("add-problem");
  byId("add-channel").addEventListener("click", () => {
    input.value = "room:";
    problem.textContent = "";
    dialog.showModal();
    input.focus();
  });
  byId("add-cancel").addEventListener("click", () => dialog.close());
  byId("add-form").addEventListener("submit", (/** @type {Event} */ event) => {
    event.preventDefault();
    const name = input.value.trim();
    if (!isChannelName(name)) {
      problem.textContent = "Small letters, digits, and . _ - in parts joined by colons: room:garden";
      return;
    }
    dialog.close();
    add(name);
  });
}
