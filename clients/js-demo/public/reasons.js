/** Errors in words for people. */

const REASONS = {
  permission_denied: "you are not allowed to do that here",
  not_found: "the message is gone",
  conflict: "the message has been deleted",
  payload_too_large: "it is too large",
  offline: "you are offline",
  timeout: "the server did not answer",
  unavailable: "the server can not do that right now",
  overloaded: "the server is too busy right now",
  connection_ended: "the connection ended each time that it was sent",
  outbox_full: "too many messages are waiting already",
  unauthenticated: "the server does not accept your name",
  token_revoked: "your access was withdrawn",
  terminated: "the server ended your session",
};

/** @param {any} error @returns {string} a clause: "Not sent: …" */
export function reasonOf(error) {
  return /** @type {any} */ (REASONS)[error?.code] ?? error?.message ?? "the server gave no reason";
}
