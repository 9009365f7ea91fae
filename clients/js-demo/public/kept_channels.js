/** The channels of this tab's last visit, and which of them was on the page. */

import { isChannelName } from "./format.js";

const DEMO_CHANNELS = ["room:lobby", "room:random", "room:maru"];
const KEPT_CHANNELS = "maru.channels";
const KEPT_PLACE = "maru.place";

/** @returns {string[]} */
export function keptChannels() {
  try {
    const names = JSON.parse(sessionStorage.getItem(KEPT_CHANNELS) ?? "");
    if (Array.isArray(names) && names.length > 0 && names.every((name) => isChannelName(name))) return names;
  } catch {
    // Nothing was kept, or not by this page.
  }
  return DEMO_CHANNELS;
}

/** @param {string[]} names */
export function keepChannels(names) {
  sessionStorage.setItem(KEPT_CHANNELS, JSON.stringify(names));
}

/** The name of a channel; "" for the inbox; null on the first visit. */
export function keptPlace() {
  return sessionStorage.getItem(KEPT_PLACE);
}

/** @param {string} place as `keptPlace` */
export function keepPlace(place) {
  sessionStorage.setItem(KEPT_PLACE, place);
}
