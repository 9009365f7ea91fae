/** The check of a command's payload before it is sent. */

import { MaruError } from "./errors.js";

const FRAME_BYTES = 128; // of a frame, beside the payload: packet types, namespace, ack id, event name
const LONE_SURROGATE = /\p{Surrogate}/u;

/**
 * Returns why a payload can not be sent, or null. The server would end the connection for such a payload, and
 * every retry would end the next connection too.
 * @param {object} data @param {number} limit bytes of a frame
 */
export function faultOf(data, limit) {
  let whole = true;
  const check = (/** @type {string} */ name, /** @type {any} */ value) => {
    whole &&= !LONE_SURROGATE.test(name) && !(typeof value === "string" && LONE_SURROGATE.test(value));
    return value;
  };
  try {
    const bytes = new TextEncoder().encode(JSON.stringify(data, check)).length + FRAME_BYTES;
    if (bytes > limit) return new MaruError("payload_too_large", `${bytes} bytes, at most ${limit}`);
  } catch {
    return new MaruError("bad_request", "not JSON: a circular structure, or a BigInt");
  }
  return whole ? null : new MaruError("bad_request", "a text holds half of a surrogate pair");
}
