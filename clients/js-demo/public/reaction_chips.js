/** The chips under a message: made, changed and taken away one by one, so that a focused chip keeps its focus. */

import { el } from "./dom.js";
import { chipText, EMOJIS } from "./reactions.js";

const LABELS = new Map(EMOJIS);

/** @typedef {import("./reactions.js").Chip} Chip */

/**
 * @param {Element} row of a message @param {Chip[]} chips @param {(user: string) => string} called
 * @param {(emoji: string) => void} toggle
 */
export function renderChips(row, chips, called, toggle) {
  const box = row.querySelector(".reactions") ?? boxOf(row);
  const known = new Map([...box.children].map((each) => [/** @type {any} */ (each).dataset.emoji, each]));
  for (const [place, chip] of chips.entries()) {
    const element = known.get(chip.emoji) ?? chipElement(chip.emoji, toggle);
    known.delete(chip.emoji);
    update(element, chip, called);
    if (box.children[place] !== element) box.insertBefore(element, box.children[place] ?? null);
  }
  for (const element of known.values()) {
    if (element === document.activeElement) /** @type {any} */ (row).focus({ preventScroll: true });
    element.remove();
  }
}

/** @param {Element} row */
function boxOf(row) {
  // Outside of the live region: nobody wants to hear each reaction.
  const box = el("div", { class: "reactions", role: "group", "aria-label": "Reactions", "aria-live": "off" });
  row.querySelector(".body > .content")?.after(box);
  return box;
}

/** @param {string} emoji @param {(emoji: string) => void} toggle */
function chipElement(emoji, toggle) {
  const attributes = { type: "button", class: "chip", tabindex: "-1", "data-testid": "reaction", "data-emoji": emoji };
  return el(
    "button",
    { ...attributes, onclick: () => toggle(emoji) },
    el("span", { class: "emoji", "aria-hidden": "true", text: emoji }),
    el("span", { class: "count" }),
  );
}

/** @param {Element} element @param {Chip} chip @param {(user: string) => string} called */
function update(element, chip, called) {
  const text = chipText(chip, called);
  const label = LABELS.get(/** @type {any} */ (chip.emoji)) ?? chip.emoji;
  const count = /** @type {Element} */ (element.querySelector(".count"));
  if (count.textContent !== String(chip.count)) count.textContent = String(chip.count);
  element.setAttribute("aria-pressed", String(chip.own));
  element.setAttribute("aria-label", `${label}, ${chip.count}: ${text}`);
  element.setAttribute("data-tip", text);
}
