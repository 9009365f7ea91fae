/** Texts as the server sees them. Written for engines without TextEncoder and without Unicode properties in patterns. */

const LONE_SURROGATE = /[\uD800-\uDFFF]/u;

/** Whether a text is no UTF-16: the server closes the connection for it. @param {any} value */
export function isBroken(value) {
  return typeof value === "string" && LONE_SURROGATE.test(value);
}

/** The bytes of a text in UTF-8. @param {string} text that is not broken */
export function utf8Length(text) {
  let bytes = text.length;
  for (let index = 0; index < text.length; index++) {
    const unit = text.charCodeAt(index);
    // A pair of surrogates is two units and four bytes.
    if (unit >= 0x800 && (unit < 0xd800 || unit > 0xdfff)) bytes += 2;
    else if (unit >= 0x80) bytes += 1;
  }
  return bytes;
}
