/** The check of a command's payload before it is sent. */

import { MaruError } from "./errors.js";
import { isBroken, utf8Length } from "./text.js";

/** Bytes of a frame that the server takes, until it has told its limit. */
export const PAYLOAD_BYTES = 65_536;

const FRAME_BYTES = 128; // of a frame, beside the payload: packet types, namespace, ack id, event name

/**
 * Returns a payload as plain JSON values: socket.io would make a binary packet of some objects that JSON can write.
 * @param {object} data @param {number} limit bytes of a frame
 * @throws {MaruError} if the payload can not be sent. The server would end the connection for such a payload, and
 *   every retry would end the next connection too.
 */
export function plainOf(data, limit) {
  const json = jsonOf(data);
  const bytes = utf8Length(json) + FRAME_BYTES;
  if (bytes > limit) throw new MaruError("payload_too_large", `${bytes} bytes, at most ${limit}`);
  return JSON.parse(json);
}

/** @param {object} data @throws {MaruError} */
function jsonOf(data) {
  let fault = "";
  /** @this {any} the object that holds `value`; `value` is what its `toJSON` gave @param {string} name @param {any} value */
  function check(name, value) {
    if (isBinary(value) || isBinary(this[name])) fault ||= "binary data: encode it as a text, or upload it elsewhere";
    else if (isBroken(name) || isBroken(value)) fault ||= "a text holds half of a surrogate pair";
    return fault ? undefined : value;
  }
  let json = "";
  try {
    json = JSON.stringify(data, check);
  } catch {
    fault ||= "not JSON: a circular structure, or a BigInt";
  }
  if (fault) throw new MaruError("bad_request", fault);
  return json;
}

/** Whether a value holds bytes. @param {any} value */
function isBinary(value) {
  if (value instanceof ArrayBuffer || ArrayBuffer.isView(value)) return true;
  return typeof Blob === "function" && value instanceof Blob; // a File is a Blob
}
