/** Errors, waits and closed channels in words for people: no code alone, whatever has happened. Pure. */

import { withoutTricks } from "./format.js";

const REASONS = {
  // of the protocol
  bad_request: "the server can not read it",
  unknown_event: "the server does not know how to do that",
  unknown_namespace: "there is no chat at this address",
  unauthenticated: "you have to sign in again",
  token_expired: "your sign-in has expired",
  token_revoked: "your access was withdrawn",
  token_in_query: "your sign-in was in the address of the page, where others can read it",
  permission_denied: "you are not allowed to do that here",
  not_joined: "you are not in this channel",
  not_found: "the message is gone",
  conflict: "the message has been deleted",
  payload_too_large: "it is too large",
  too_many_channels: "you are in too many channels: leave one of them first",
  rate_limited: "that was too much in too short a time",
  unavailable: "the server can not do that right now",
  overloaded: "the server is too busy right now",
  internal: "something broke in the server",
  // of the client
  offline: "you are offline",
  timeout: "the server did not answer",
  token_unavailable: "nobody confirms who you are right now",
  outbox_full: "too many messages are waiting already",
  key_expired: "it has waited too long",
  connection_ended: "the connection ended each time that it was sent",
  terminated: "the server ended your session",
  closed: "you have signed out",
};

const LIMITS = {
  slow_mode: "This channel takes one message at a time",
  channel: "Many people are writing here",
};

const REASON_CHARS = 200; // of the application's own words

/** @param {any} error @returns {string} a clause: "Not sent: …" */
export function reasonOf(error) {
  const said = quoted(error?.reason);
  if (said) return `it was refused here: ${said}`;
  const known = /** @type {any} */ (REASONS)[error?.code] ?? error?.message ?? "the server gave no reason";
  return error?.retryAfterMs > 0 ? `${known}; try again in ${secondsOf(error.retryAfterMs)}` : known;
}

/** Why something is done later than it was asked for. @param {any} error @returns {string} a sentence without its stop */
export function delayOf(error) {
  if (error.code !== "rate_limited") return sentence(reasonOf({ code: error.code }));
  return /** @type {any} */ (LIMITS)[error.details?.limit] ?? "That was fast";
}

/**
 * Why nothing can be read or written in a channel.
 * @param {{code: string, reason?: string}} error @param {boolean} wasIn @returns {string} a sentence without its stop
 */
export function closedOf({ code, reason }, wasIn) {
  const said = quoted(reason);
  if (code === "too_many_channels") return sentence(reasonOf({ code }));
  if (code !== "permission_denied") return `This channel is closed: ${reasonOf({ code })}`;
  const denied = wasIn ? "You no longer have access to this channel" : "You have no access to this channel";
  return said ? `${denied}: ${said}` : denied;
}

/** @param {number} ms @returns {string} "3 seconds": never less than it takes */
export function secondsOf(ms) {
  const seconds = Math.max(1, Math.ceil(ms / 1_000));
  return seconds === 1 ? "1 second" : `${seconds} seconds`;
}

/** @param {unknown} said */
function quoted(said) {
  const plain = typeof said === "string" ? withoutTricks(said) : "";
  const letters = [...plain];
  if (letters.length === 0) return "";
  return `“${letters.length > REASON_CHARS ? `${letters.slice(0, REASON_CHARS).join("")}…` : plain}”`;
}

/** @param {string} clause */
function sentence(clause) {
  return clause.charAt(0).toUpperCase() + clause.slice(1);
}
