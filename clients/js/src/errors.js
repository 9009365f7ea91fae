/** The errors that the client rejects with: refusals of the server, and failures of its own. */

/** Codes of a refused token: another token may be accepted at CONNECT. */
export const TOKEN_REFUSED = new Set(["unauthenticated", "token_expired"]);

/**
 * A refusal with the protocol's `code` (PROTOCOL.md, errors), or one of the client's own: `offline`,
 * `timeout`, `token_unavailable` (retryable), `outbox_full`, `key_expired`, `connection_ended`, `terminated`, `closed`
 * (not).
 */
export class MaruError extends Error {
  /**
   * @param {string} code @param {string} [message]
   * @param {{retryable?: boolean, retry_after_ms?: number, details?: any}} [more] as in the error envelope
   */
  constructor(code, message, more = {}) {
    super(message || code);
    this.name = "MaruError";
    this.code = code;
    this.retryable = more.retryable === true;
    this.retryAfterMs = more.retry_after_ms ?? 0;
    this.details = more.details;
  }

  /** Why a command was refused, in the words of the application's own rules; "" if nobody has said. */
  get reason() {
    const reason = this.details?.reason;
    return typeof reason === "string" ? reason : "";
  }

  /** @param {any} envelope `{code, message, retryable, ...}` from the server; a broken envelope is `internal` */
  static from(envelope) {
    const message = envelope?.message ?? "the server gave no reason";
    return new MaruError(envelope?.code ?? "internal", message, envelope ?? {});
  }
}

/** Makes an error that time can heal. @param {string} code @param {string} message */
export function transient(code, message) {
  return new MaruError(code, message, { retryable: true });
}
