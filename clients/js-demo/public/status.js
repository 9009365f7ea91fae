/** The state of things around the messages: connection, account, unread counts, the jump button, short notices. */

import { countOn } from "./channels.js";
import { byId, icon } from "./dom.js";
import { avatar } from "./message_row.js";
import { reasonOf } from "./reasons.js";

const TOAST_MS = 5_000;

const STATES = {
  connecting: "Connecting…",
  online: "Online",
  reconnecting: "Reconnecting…",
  offline: "Offline",
  "signed-out": "Signed out",
};

let toastTimer = 0;

/**
 * @param {import("../../js/src/index.js").State} state
 * @param {import("../../js/src/index.js").MaruError|null} error the reason of the state
 */
export function showState(state, error) {
  byId("connection-state").dataset.state = state;
  byId("connection-text").textContent = STATES[state];
  const out = state === "signed-out";
  byId("notice").hidden = !out && state !== "offline";
  byId("notice-text").textContent = out
    ? `You are signed out: ${reasonOf(error)}.`
    : "You are offline. What you write is kept, and sent when you are back.";
  byId("notice-act").textContent = out ? "Sign in again" : "Try now";
}

/** @param {string} me */
export function showAccount(me) {
  byId("account-avatar").replaceChildren(avatar(me, me));
  byId("account-name").textContent = me;
  byId("app").hidden = false;
}

/**
 * @param {number} total unread messages of all channels @param {number} here of the channel on the page
 * @param {{channels: number, mentions: number}} inbox
 */
export function showUnread(total, here, inbox) {
  document.title = total > 0 ? `(${total}) Maru` : "Maru";
  byId("nav-unread").hidden = total === here;
  countOn(byId("inbox-mentions"), inbox.mentions, "mentions", "@");
  countOn(byId("inbox-unread"), inbox.channels, "channels with unread messages");
}

/** The header: a channel, or the inbox. @param {string} label @param {boolean} isInbox */
export function showTitle(label, isInbox) {
  byId("room-name").textContent = label;
  byId("app").dataset.view = isInbox ? "inbox" : "room";
  byId("inbox").hidden = !isInbox;
  for (const id of ["messages", "composer", "follow", "open-members", "room-hash"]) byId(id).hidden = isInbox;
  const toInbox = byId("open-inbox");
  if (isInbox) toInbox.setAttribute("aria-current", "page");
  else toInbox.removeAttribute("aria-current");
}

/** @param {boolean} follows */
export function showFollowing(follows) {
  const star = byId("follow");
  star.ariaPressed = String(follows);
  star.title = follows ? "Following: this channel is in your inbox" : "Follow: keep this channel in your inbox";
}

/** The button that leads to the latest message. @param {boolean} hidden @param {number} unread */
export function showJump(hidden, unread) {
  const jump = byId("jump");
  jump.hidden = hidden;
  const news = unread === 1 ? "1 new message" : `${unread} new messages`;
  jump.replaceChildren(unread > 0 ? news : "Jump to latest", icon("down"));
  jump.classList.toggle("fresh", unread > 0);
}

/** Shows a short notice for some seconds. @param {string} text */
export function toast(text) {
  const element = byId("toast");
  element.textContent = text;
  element.hidden = false;
  clearTimeout(toastTimer);
  toastTimer = window.setTimeout(() => (element.hidden = true), TOAST_MS);
}
