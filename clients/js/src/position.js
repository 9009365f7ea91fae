/** Positions in a channel's log, and the check of a position that was stored. */

import { isBroken } from "./text.js";

const EPOCH_CHARS = 64; // the server refuses a longer epoch, and a whole CONNECT for one of them
const CHANNEL_CHARS = 128;
const CHANNEL = /^[a-z0-9][a-z0-9._-]*(:[a-z0-9._-]+)*$/;

/** @typedef {{epoch: string, offset: number}} Position */

/** Whether a value can be a position of a channel. @param {any} value */
export function isPosition(value) {
  const { epoch, offset } = value ?? {};
  const isEpoch = typeof epoch === "string" && epoch.length > 0 && epoch.length <= EPOCH_CHARS && !isBroken(epoch);
  return isEpoch && isOffset(offset);
}

/** Whether a value can be an offset. @param {unknown} value */
export function isOffset(value) {
  return Number.isSafeInteger(value) && /** @type {number} */ (value) >= 0;
}

/** Whether a text can name a channel: CONNECT is refused as a whole if one name can not. @param {any} name */
export function isChannelName(name) {
  return typeof name === "string" && name.length <= CHANNEL_CHARS && CHANNEL.test(name);
}
