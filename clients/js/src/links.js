/** The parts of an application that use a channel: which of them have joined it, and which hear its events. */

/**
 * @typedef {object} Link of one `Channel` object
 * @property {(name: string, value: any) => void} emit
 * @property {() => void} listen it hears the channel's events from now on
 * @property {(options?: import("./types.js").JoinOptions) => Promise<import("./types.js").Joined>} join
 * @property {() => Promise<void>} leave
 */

export class Links {
  /** @type {Map<string, Set<object>>} by channel: those that have joined */ #joined = new Map();
  /** @type {Map<string, Set<Link>>} by channel: those that hear its events */ #hearing = new Map();

  /** An event of a channel. @param {string} name @param {any} value */
  emit(name, value) {
    for (const link of [...(this.#hearing.get(value.channel) ?? [])]) link.emit(name, value);
    if (name === "removed") this.#joined.delete(value.channel);
  }

  /** @param {string} channel @param {object} owner @returns {boolean} whether it had not joined before */
  join(channel, owner) {
    const isNew = !this.#joined.get(channel)?.has(owner);
    this.#joined.set(channel, (this.#joined.get(channel) ?? new Set()).add(owner));
    return isNew;
  }

  /** The join was refused. @param {string} channel */
  refused(channel) {
    this.#joined.delete(channel);
  }

  /** @param {string} channel @param {object} owner @returns {boolean} whether nobody is left */
  leave(channel, owner) {
    const owners = this.#joined.get(channel);
    owners?.delete(owner);
    if (owners && owners.size > 0) return false;
    this.#joined.delete(channel);
    return true;
  }

  /** @param {string} channel @param {Link} link */
  hear(channel, link) {
    this.#hearing.set(channel, (this.#hearing.get(channel) ?? new Set()).add(link));
  }

  /** @param {string} channel @param {Link} link */
  forget(channel, link) {
    const links = this.#hearing.get(channel);
    links?.delete(link);
    if (links?.size === 0) this.#hearing.delete(channel);
  }
}
