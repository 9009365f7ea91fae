/** Messages in their current state, folded from pages and log events. Pure. */

/**
 * @typedef {import("./types.js").LogEvent} LogEvent
 * @typedef {import("./types.js").Message|import("./types.js").DeletedMessage} Entry
 */

/**
 * Applies log events to messages. An event for a message that is not there makes it only if it brings the whole message.
 * @param {readonly Entry[]} messages oldest first @param {readonly LogEvent[]} events in their order
 * @returns {Entry[]} oldest first; a deleted message keeps its place
 */
export function merge(messages, events) {
  const byId = new Map(messages.map((message) => [message.id, message]));
  for (const event of events) apply(byId, event);
  return [...byId.values()].sort((one, other) => (one.offset ?? 0) - (other.offset ?? 0));
}

/** @param {Map<string, Entry>} byId @param {LogEvent} event */
function apply(byId, event) {
  switch (event.event) {
    case "message:created":
    case "message:edited": {
      const known = byId.get(event.message.id);
      if (known?.deleted) return;
      byId.set(event.message.id, event.message);
      return;
    }
    case "message:deleted": {
      const known = byId.get(event.message.id);
      if (known) byId.set(known.id, { ...event.message, offset: known.offset });
      return;
    }
    case "reaction:changed": {
      const known = byId.get(event.id);
      if (known && !known.deleted) byId.set(event.id, { ...known, reactions: event.reactions });
    }
  }
}

/**
 * Puts a page of history and what was seen since together.
 * @param {readonly Entry[]} page in the state of the page's offset
 * @param {readonly LogEvent[]} events those after the page's offset count
 * @param {{epoch: string, offset: number}} at of the page
 */
export function mergePage(page, events, { epoch, offset }) {
  return merge(page, events.filter((event) => event.epoch === epoch && event.offset > offset));
}
