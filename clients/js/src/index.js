/**
 * The client of Maru: a package, and a folder to copy. It needs nothing but the `io` of socket.io-client 4, handed in.
 *
 * It keeps three promises over lost connections, server restarts and expiring tokens:
 *  - every event of a joined channel reaches `on("event")` once, in offset order, or `on("reset")` says that
 *    history has to be read again;
 *  - every send is retried under one key until the server answers, so it is in the log once or it has failed;
 *  - it never gives up on an error that time can heal, and stops with a reason on any other error.
 *
 * @typedef {import("./types.js").Position} Position
 * @typedef {import("./types.js").State} State
 * @typedef {import("./types.js").Json} Json
 * @typedef {import("./types.js").Message} Message
 * @typedef {import("./types.js").DeletedMessage} DeletedMessage
 * @typedef {import("./types.js").LogEvent} LogEvent
 * @typedef {import("./types.js").MessageCreated} MessageCreated
 * @typedef {import("./types.js").EventPublished} EventPublished
 * @typedef {import("./types.js").Reactions} Reactions
 * @typedef {import("./types.js").Roster} Roster
 * @typedef {import("./types.js").Member} Member
 * @typedef {import("./types.js").Unread} Unread
 * @typedef {import("./types.js").Inbox} Inbox
 * @typedef {import("./types.js").Events} Events
 * @typedef {import("./types.js").ChannelEvents} ChannelEvents
 * @typedef {import("./storage.js").Store} Store
 * @typedef {import("./channel.js").Channel} Channel
 * @typedef {{key?: string, data?: import("./types.js").Data, replyTo?: string, mentions?: string[]}} SendOptions
 * @typedef {Partial<typeof DEFAULTS> & {io: Function, getToken: () => Promise<string>|string}} MaruOptions
 *   `getToken` gives a token that is valid now; it is called again when a token is refused or about to expire. An
 *   error it throws is retried, unless the error says `retryable: false`.
 */

import { Channel as ChannelObject } from "./channel.js";
import { Commands } from "./commands.js";
import { MaruError } from "./errors.js";
import { newKey } from "./keys.js";
import { DEFAULTS } from "./options.js";
import { merge, mergePage } from "./timeline.js";

export { MaruError, merge, mergePage, newKey };

/** Makes a client. It does nothing before `connect`. @param {MaruOptions} options */
export function createMaru(options) {
  return new Maru(options);
}

export class Maru extends Commands {
  /**
   * An object for one channel, with listeners of its own. Each call makes another.
   * @param {string} name @returns {Channel}
   */
  channel(name) {
    return new ChannelObject(name, this, this.link(name), this.options.report);
  }
}
