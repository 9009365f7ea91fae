/** The edges of the message list: loading, a problem, the start of the channel. */

import { el } from "./dom.js";
import { channelLabel } from "./format.js";

export function spinner(label = "Loading messages") {
  return el("span", { class: "spinner", role: "status", "aria-label": label });
}

/** Grey rows in place of the first page. */
export function skeleton() {
  const bar = (/** @type {string} */ size) => el("span", { class: `bar ${size}` });
  const rows = ["wide", "narrow", "middle", "wide", "middle"].map((size) =>
    el(
      "div",
      { class: "skeleton", "aria-hidden": "true" },
      el("span", { class: "avatar" }),
      el("div", {}, bar("name"), bar(size)),
    ),
  );
  return [el("span", { class: "quiet", role: "status", text: "Loading messages" }), ...rows];
}

/** @param {string} problem @param {() => void} retry */
export function problemOf(problem, retry) {
  const button = el("button", { type: "button", class: "button", text: "Try again", onclick: retry });
  return el("div", { class: "problem", role: "alert" }, el("p", { text: problem }), button);
}

/** @param {string} name of the channel @param {boolean} empty whether it has no messages */
export function startOf(name, empty) {
  const label = channelLabel(name);
  return el(
    "div",
    { class: "start", "data-testid": "history-start" },
    el("span", { class: "start-mark", "aria-hidden": "true", text: "#" }),
    el("h2", { text: empty ? `It is quiet in ${label}` : `The start of ${label}` }),
    el("p", {
      text: empty ? "Nobody has said anything yet. Be the first." : "There is nothing older in this channel.",
    }),
  );
}
