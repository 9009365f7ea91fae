/** Keys: a text that nobody else makes, so that a repeated send is one message. */

/**
 * Makes a new key. `randomUUID` exists on https and localhost only, `getRandomValues` in every browser; React Native
 * has neither, and there a key needs no secrecy: it is the author's own.
 * @param {{randomUUID?: () => string, getRandomValues?: (bytes: Uint8Array<ArrayBuffer>) => Uint8Array}|undefined} source
 */
export function newKey(source = globalThis.crypto) {
  if (source?.randomUUID) return source.randomUUID();
  const bytes = new Uint8Array(16);
  if (source?.getRandomValues) source.getRandomValues(bytes);
  else bytes.forEach((_, index) => (bytes[index] = Math.floor(Math.random() * 256)));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
