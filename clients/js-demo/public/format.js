/** Values as texts for people: names, times, links, rows. Pure. */

const CHANNEL = /^[a-z0-9][a-z0-9._-]*(:[a-z0-9._-]+)*$/;
const CHANNEL_MAX = 128;
const HUES = 10; // avatar colours in styles/avatars.css
const GROUP_MS = 5 * 60_000; // one author's messages within this time stand together
const LINK = /\bhttps?:\/\/[^\s<>"]+/g;
const TRAILING = /[.,;:!?'")\]}]+$/; // punctuation that ends the sentence, not the link
const AUTHORITY = /^https?:\/\/([^/?#\\]*)/i;
const HIDDEN = /[\p{Cf}\p{Zl}\p{Zp}]/gu; // zero width, direction marks and overrides, line separators
const INVISIBLE = /(?![\u200c\u200d])[\p{Cf}\p{Cc}\p{Zl}\p{Zp}]/gu;
const LATIN = /\p{Script=Latin}/u;
const LIKE_LATIN = /[\p{Script=Cyrillic}\p{Script=Greek}\p{Script=Armenian}\p{Script=Cherokee}]/u;
const CLAMPED_LINES = 20; // styles/messages.css
const LINE_CHARS = 25; // of a narrow screen, at least

/** @param {string} name */
export function isChannelName(name) {
  return name.length <= CHANNEL_MAX && CHANNEL.test(name);
}

/** `room:lobby` is "lobby" to people; other kinds keep their whole name. @param {string} channel */
export function channelLabel(channel) {
  return channel.startsWith("room:") ? channel.slice("room:".length) : channel;
}

/**
 * What an author is called: tokens need not have a name. A name of before the server refused them may have characters
 * that hide or turn letters. @param {{id: string, name?: string|null}} author
 */
export function nameOf({ id, name }) {
  return withoutTricks(name ?? "") || withoutTricks(id);
}

/** A short text without the characters that hide or turn letters. @param {string} text */
export function withoutTricks(text) {
  return text.replace(INVISIBLE, "").trim();
}

/** The part of a name by which people take it for another. @param {string} name */
function looksOf(name) {
  return name.normalize("NFKC").replace(/[\p{Cf}\s]/gu, "").toLowerCase();
}

/** Whether a name mixes letters that look alike: "Аlice" begins with a Cyrillic letter. @param {string} name */
function isMixed(name) {
  return LATIN.test(name) && LIKE_LATIN.test(name);
}

/**
 * The users whose names are not enough to tell them from others: their ids are shown too.
 * @param {import("./timeline.js").Item[]} items @returns {Set<string>}
 */
export function namesakes(items) {
  /** @type {Map<string, string>} */ const first = new Map(); // by looks, the user
  /** @type {Set<string>} */ const found = new Set();
  for (const { author } of items) {
    if (!author) continue;
    for (const looks of new Set([looksOf(nameOf(author)), looksOf(author.id)])) {
      const other = first.get(looks);
      if (other !== undefined && other !== author.id) found.add(other).add(author.id);
      else first.set(looks, author.id);
    }
    if (isMixed(nameOf(author))) found.add(author.id);
  }
  return found;
}

/** Whether a text may take more lines than are shown at first. @param {string} text */
export function isLong(text) {
  if (text.length > CLAMPED_LINES * LINE_CHARS) return true;
  return text.split(/[\n\u2028\u2029]/, CLAMPED_LINES + 1).length > CLAMPED_LINES;
}

/** @param {string} name one or two letters */
export function initials(name) {
  const words = name.split(/[\s._\p{Cf}\p{Cc}-]+/u).filter(Boolean);
  const letters = words.length > 1 ? [words[0], words[words.length - 1]] : words;
  return letters.map((word) => [...word][0].toUpperCase()).join("") || "?";
}

/** The same colour for the same user on every page. @param {string} user */
export function hue(user) {
  let hash = 0x811c9dc5; // FNV-1a, 32 bits
  for (const letter of user) hash = Math.imul(hash ^ (letter.codePointAt(0) ?? 0), 0x01000193);
  return (hash >>> 0) % HUES;
}

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const thisYear = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });
const otherYear = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "long", year: "numeric" });
const whole = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "short" });

/** @param {number} ms */
export function timeOf(ms) {
  return clock.format(ms);
}

/** @param {number} ms */
export function wholeTimeOf(ms) {
  return whole.format(ms);
}

/** @param {number} ms @param {number} now */
export function dayOf(ms, now) {
  const day = new Date(ms);
  const today = new Date(now);
  const yesterday = new Date(today.getFullYear(), today.getMonth(), today.getDate() - 1);
  if (day.toDateString() === today.toDateString()) return "Today";
  if (day.toDateString() === yesterday.toDateString()) return "Yesterday";
  return (day.getFullYear() === today.getFullYear() ? thisYear : otherYear).format(ms);
}

/**
 * Cuts a text into plain parts and http(s) links; the parts, joined, are the text. A link with a user name or a
 * password is none: who reads it takes that for the host. `shown` is what to show in place of a link's text.
 * @param {string} text @returns {{text: string, href?: string, shown?: string}[]}
 */
export function linkParts(text) {
  const parts = [];
  let end = 0;
  for (const match of text.matchAll(LINK)) {
    const link = match[0].replace(TRAILING, "");
    const authority = AUTHORITY.exec(link)?.[1] ?? "";
    if (!URL.canParse(link) || authority.includes("@")) continue;
    if (match.index > end) parts.push({ text: text.slice(end, match.index) });
    const url = new URL(link);
    const start = link.indexOf("//") + 2;
    // The host as the browser reads it (punycode), and nothing that hides or turns the rest.
    const host = authority.replace(/:\d*$/, "").toLowerCase() === url.hostname ? authority : url.host;
    const rest = link.slice(start + authority.length).replace(HIDDEN, encodeURIComponent);
    const shown = link.slice(0, start) + host + rest;
    parts.push({ text: link, href: url.href, ...(shown !== link && { shown }) });
    end = match.index + link.length;
  }
  if (end < text.length) parts.push({ text: text.slice(end) });
  return parts;
}

/**
 * The rows of a page: days, the line above the first unread message, and messages. The first message of a group is
 * marked. A deleted message keeps its place, and the grouping ignores it.
 * @param {import("./timeline.js").Item[]} items @param {number} now
 * @param {number} unreadAfter offset of the last message that had been seen; Infinity for none
 */
export function rowsOf(items, now, unreadAfter) {
  const rows = [];
  const alike = namesakes(items);
  let day = "";
  let author = "";
  let at = 0;
  let marked = false;
  for (const item of items) {
    const itsDay = item.at === null ? day : dayOf(item.at, now);
    if (itsDay !== day) {
      rows.push({ kind: "day", uid: `d:${item.uid}`, label: itsDay });
      day = itsDay;
      author = "";
    }
    if (!marked && item.state === "sent" && item.offset > unreadAfter) {
      rows.push({ kind: "new", uid: "new", label: "New" });
      marked = true;
      author = "";
    }
    const first = !item.deleted && (item.author?.id !== author || (item.at ?? at) - at > GROUP_MS);
    if (!item.deleted) {
      author = item.author?.id ?? "";
      at = item.at ?? at;
    }
    const withId = first && alike.has(item.author?.id ?? "");
    rows.push({ kind: "message", uid: item.uid, item, first, withId });
  }
  return rows;
}
