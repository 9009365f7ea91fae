/**
 * The users in one channel: a snapshot, and the changes since.
 *
 * Versions are dense, so a hole is seen: then the snapshot is read again. A channel with many members tells their number
 * instead of names.
 */

/**
 * @typedef {import("./types.js").Member} Member
 * @typedef {{members: Member[], count: number, epoch: string, version: number, complete: boolean}} Snapshot
 * @typedef {{channel: string, user: string, name: string|null, since?: string, epoch: string, version: number, count: number}} Change
 * @typedef {{channel: string, count: number, epoch: string, version: number, names?: boolean}} Count
 */

const HELD_LIMIT = 1_000; // changes kept while a snapshot is read; with more, it is read again

export class RosterState {
  /** @type {import("./types.js").Roster|null} null: not read yet */ value = null;

  /** @type {Map<string, Member>} */ #members = new Map();
  #epoch = "";
  #version = 0;
  /** @type {{joined: boolean, change: Change}[]|null} while a snapshot is read */ #held = null;

  /** A snapshot is asked for: keeps the changes that come meanwhile. */
  reading() {
    this.#held = [];
  }

  /** @param {Snapshot} snapshot @returns {boolean} whether all is well; false: read again */
  take({ members, count, epoch, version, complete }) {
    this.#members = new Map(members.map((member) => [member.user, member]));
    Object.assign(this, { value: { members, count, complete } });
    this.#epoch = epoch;
    this.#version = version;
    const held = this.#held ?? [];
    this.#held = null;
    return held.length <= HELD_LIMIT && held.every(({ joined, change }) => this.change(joined, change));
  }

  /** A user has come or gone. @param {boolean} joined @param {Change} change @returns {boolean} false: read again */
  change(joined, change) {
    if (this.#held) return this.#held.length > HELD_LIMIT || this.#held.push({ joined, change }) > 0;
    const { user, name, since, epoch, version, count } = change;
    if (!this.value) return true;
    if (epoch !== this.#epoch) return false;
    if (version <= this.#version) return true;
    if (version !== this.#version + 1) return false;
    this.#version = version;
    if (joined) this.#members.set(user, { user, name, ...(since !== undefined && { since }) });
    else this.#members.delete(user);
    this.value = { members: [...this.#members.values()], count, complete: this.value.complete };
    return true;
  }

  /** The channel tells a number. @param {Count} told @returns {boolean} false: read again */
  counted({ count, epoch, version, names }) {
    if (!this.value || this.#held) return true;
    if (names || epoch !== this.#epoch) return false;
    if (version < this.#version) return true;
    this.#version = version;
    this.value = { members: this.value.members, count, complete: false };
    return true;
  }
}
