/** The drawers: the channel list on a phone, and the members wherever there is no room beside the messages. */

import { byId } from "./dom.js";

const WIDE = matchMedia("(min-width: 1101px)"); // styles/members.css: the members stand beside the messages
const KEPT = "maru.members";

/** The channel list on a phone: it lies over the room while it is open. @param {boolean} open */
export function navigate(open) {
  const wasOpen = byId("app").dataset.nav === "open";
  byId("app").dataset.nav = open ? "open" : "closed";
  byId("open-nav").ariaExpanded = String(open);
  cover();
  if (open) byId("sidebar").querySelector("[aria-current]")?.focus();
  else if (wasOpen) byId("open-nav").focus();
}

/** @param {boolean} open */
function showMembers(open) {
  byId("app").dataset.members = open ? "open" : "closed";
  byId("open-members").ariaExpanded = String(open);
  cover();
}

/** What lies under a drawer can not be reached. */
function cover() {
  const { nav, members } = byId("app").dataset;
  const membersLieOver = members === "open" && !WIDE.matches;
  byId("scrim").hidden = nav !== "open" && !membersLieOver;
  byId("room").inert = nav === "open" || membersLieOver;
  byId("sidebar").inert = membersLieOver;
  asDialog(byId("sidebar"), nav === "open");
  asDialog(byId("members"), membersLieOver);
}

/** A drawer that lies over everything else. @param {Element} drawer @param {boolean} on */
function asDialog(drawer, on) {
  drawer.setAttribute("role", on ? "dialog" : "complementary");
  if (on) drawer.setAttribute("aria-modal", "true");
  else drawer.removeAttribute("aria-modal");
}

export function listenForNavigation() {
  const close = () => {
    const lieOver = byId("app").dataset.members === "open" && !WIDE.matches;
    if (byId("app").dataset.nav === "open") navigate(false);
    if (!lieOver) return;
    showMembers(false);
    byId("open-members").focus();
  };
  const choose = (/** @type {boolean} */ open) => {
    if (WIDE.matches) sessionStorage.setItem(KEPT, String(open)); // a drawer is open for a moment
    showMembers(open);
    if (open && !WIDE.matches) byId("members").focus();
    else if (!open) byId("open-members").focus();
  };
  byId("open-nav").addEventListener("click", () => navigate(true));
  byId("close-nav").addEventListener("click", () => navigate(false));
  byId("scrim").addEventListener("click", close);
  byId("open-members").addEventListener("click", () => choose(byId("app").dataset.members !== "open"));
  byId("close-members").addEventListener("click", () => choose(false));
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !document.querySelector("dialog[open]")) close();
  });
  const settle = () => showMembers(WIDE.matches && sessionStorage.getItem(KEPT) !== "false");
  WIDE.addEventListener("change", settle);
  settle();
}
