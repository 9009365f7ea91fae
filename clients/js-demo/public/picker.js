/** The picker of reactions: six emojis beside a message. Arrows move, Enter chooses, Escape closes. */

import { byId, el } from "./dom.js";
import { placeBy } from "./floating.js";
import { EMOJIS } from "./reactions.js";

const STEPS = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };

/** @type {(emoji: string) => void} */ let choose = () => {};
/** @type {() => void} */ let closed = () => {};

/**
 * @param {Element} button beside which it opens; it gets the focus back
 * @param {Set<string>} own the emojis that the user has reacted with
 * @param {{chosen: (emoji: string) => void, closed: () => void}} then
 */
export function openPicker(button, own, then) {
  const picker = byId("picker");
  if (picker.children.length === 0) fill(picker);
  choose = then.chosen;
  closed = then.closed;
  for (const each of picker.children) each.setAttribute("aria-pressed", String(own.has(each.dataset.emoji)));
  picker.showPopover();
  placeBy(picker, button);
  focusAt(picker, 0);
}

/** Closes it, for instance because its message has gone. */
export function closePicker() {
  const picker = byId("picker");
  if (picker.matches(":popover-open")) picker.hidePopover();
}

/** @param {any} picker */
function fill(picker) {
  for (const [emoji, label] of EMOJIS) {
    const attributes = { type: "button", "aria-label": label, title: label, "data-testid": "pick" };
    picker.append(el("button", { ...attributes, "data-emoji": emoji, text: emoji, onclick: () => picked(emoji) }));
  }
  picker.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    const buttons = [...picker.children];
    const place = buttons.indexOf(document.activeElement);
    const step = /** @type {any} */ (STEPS)[event.key] ?? 0;
    const next = { Home: 0, End: buttons.length - 1 }[event.key] ?? (place + step + buttons.length) % buttons.length;
    if (next === place) return;
    event.preventDefault();
    focusAt(picker, next);
  });
  picker.addEventListener("toggle", (/** @type {any} */ event) => event.newState === "closed" && closed());
}

/** @param {string} emoji */
function picked(emoji) {
  closePicker(); // first: it gives the focus back, and the choice may render
  choose(emoji);
}

/** One button is in the tab order. @param {any} picker @param {number} place */
function focusAt(picker, place) {
  for (const [index, each] of [...picker.children].entries()) each.tabIndex = index === place ? 0 : -1;
  picker.children[place].focus({ preventScroll: true });
}
