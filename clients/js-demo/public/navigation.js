/** The channel list on a phone: it lies over the room while it is open. */

import { byId } from "./dom.js";

/** @param {boolean} open */
export function navigate(open) {
  const wasOpen = byId("app").dataset.nav === "open";
  byId("app").dataset.nav = open ? "open" : "closed";
  byId("scrim").hidden = !open;
  byId("open-nav").ariaExpanded = String(open);
  byId("room").inert = open;
  if (open) byId("channel-list").querySelector("[aria-current]")?.focus();
  else if (wasOpen) byId("open-nav").focus();
}

export function listenForNavigation() {
  byId("open-nav").addEventListener("click", () => navigate(true));
  for (const id of ["close-nav", "scrim"]) byId(id).addEventListener("click", () => navigate(false));
  byId("sidebar").addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    if (event.key === "Escape") navigate(false);
  });
}
