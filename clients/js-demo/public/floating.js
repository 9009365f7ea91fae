/** Things that float beside a button, in the top layer: a place for them on the screen, and the tooltip. */

import { byId } from "./dom.js";

const MARGIN_PX = 8; // to the edges of the screen
const GAP_PX = 6; // to the button
const TIP_DELAY_MS = 350;

/**
 * Puts an open popover above a button, or below if there is no room.
 * @param {HTMLElement} floating @param {Element} button
 */
export function placeBy(floating, button) {
  const target = button.getBoundingClientRect();
  const { width, height } = floating.getBoundingClientRect();
  const left = target.left + target.width / 2 - width / 2;
  const above = target.top - height - GAP_PX;
  floating.style.left = `${Math.max(MARGIN_PX, Math.min(left, innerWidth - width - MARGIN_PX))}px`;
  floating.style.top = `${above < MARGIN_PX ? target.bottom + GAP_PX : above}px`;
}

/** Shows the `data-tip` of the element under the pointer, or with the keyboard's focus. @param {HTMLElement} box */
export function listenForTips(box) {
  const tip = byId("tip");
  let timer = 0;
  const close = () => tip.matches(":popover-open") && tip.hidePopover();
  const hide = () => {
    clearTimeout(timer);
    close();
  };
  const show = (/** @type {Element|null} */ element) => {
    hide();
    const text = element?.getAttribute("data-tip");
    if (!element || !text) return;
    tip.textContent = text;
    tip.showPopover();
    placeBy(tip, element);
  };
  const tipped = (/** @type {Event} */ event) => /** @type {Element} */ (event.target).closest("[data-tip]");
  box.addEventListener("pointerover", (event) => {
    const element = tipped(event);
    hide();
    if (element && event.pointerType === "mouse") timer = window.setTimeout(() => show(element), TIP_DELAY_MS);
  });
  box.addEventListener("focusin", (event) => {
    const element = tipped(event);
    if (element?.matches(":focus-visible")) show(element);
  });
  box.addEventListener("scroll", close, { passive: true });
  for (const name of ["pointerleave", "focusout", "click"]) box.addEventListener(name, hide);
  box.addEventListener("keydown", (event) => event.key === "Escape" && hide());
}
