/** The inbox as pure state: the channels that the user follows, with their last message. The server keeps it. */

const PREVIEW = 200; // characters of the last message, as the server gives them

/**
 * @typedef {{id: string, author?: {id: string, name?: string|null}|null, text?: string, at: string,
 *            deleted?: boolean}} Last
 * @typedef {{channel: string, last: Last|null, unread: number, mentions: number}} Entry
 */

export class Inbox {
  loaded = false;
  /** @type {string|null} where the next page begins; null: there is none */ next = null;
  /** @type {Map<string, Entry>} */ #entries = new Map();

  /** Takes the first page of what the server has. @param {any[]} channels @param {string|null} [next] */
  take(channels, next = null) {
    this.loaded = true;
    this.#entries = new Map();
    this.append(channels, next);
  }

  /** Takes a further page. @param {any[]} channels of an answer to `inbox:read` @param {string|null} next */
  append(channels, next) {
    this.next = next;
    for (const { channel, last, unread, unread_mentions: mentions } of channels) {
      if (!this.follows(channel)) this.#entries.set(channel, { channel, last, unread, mentions });
    }
  }

  /** @param {string} channel */
  follows(channel) {
    return this.#entries.has(channel);
  }

  /** @param {string} channel @param {Last|null} last */
  follow(channel, last) {
    if (!this.follows(channel)) this.#entries.set(channel, { channel, last, unread: 0, mentions: 0 });
  }

  /** @param {string} channel */
  unfollow(channel) {
    this.#entries.delete(channel);
  }

  /** A log event of a channel that is joined. @param {any} event */
  heard({ event, channel, message }) {
    const entry = this.#entries.get(channel);
    if (!entry || !message) return;
    if (event === "message:created") entry.last = lastOf(message);
    else if (entry.last?.id === message.id) entry.last = { ...entry.last, ...changeOf(message) };
  }

  /**
   * The unread counts of a channel that is joined.
   * @param {string} channel @param {{unread: number, mentions: number}} counts
   */
  count(channel, { unread, mentions }) {
    const entry = this.#entries.get(channel);
    if (entry) Object.assign(entry, { unread, mentions });
  }

  /** The entries, those with the latest message first. @returns {Entry[]} */
  get entries() {
    const at = (/** @type {Entry} */ { last }) => (last ? Date.parse(last.at) : 0);
    return [...this.#entries.values()].sort((a, b) => at(b) - at(a) || (a.channel < b.channel ? -1 : 1));
  }

  /** Channels with something unread, and all mentions. */
  get totals() {
    const entries = [...this.#entries.values()];
    return {
      channels: entries.filter(({ unread }) => unread > 0).length,
      mentions: entries.reduce((sum, { mentions }) => sum + mentions, 0),
    };
  }
}

/** The last message of a channel, from a message of its log. @param {any} message @returns {Last} */
export function lastOf(message) {
  const { id, author = null, created_at: at = new Date(0).toISOString() } = message;
  return { id, author, at, ...changeOf(message) };
}

/** @param {any} message */
function changeOf({ text = "", deleted = false }) {
  return deleted ? { text: "", deleted: true } : { text: [...text].slice(0, PREVIEW).join(""), deleted: false };
}
