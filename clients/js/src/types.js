/**
 * The shapes of the protocol, as the application gets them. There is nothing here to run.
 *
 * @typedef {import("./errors.js").MaruError} MaruError
 * @typedef {import("./position.js").Position} Position
 * @typedef {"connecting"|"online"|"reconnecting"|"offline"|"signed-out"} State
 * @typedef {string|number|boolean|null|Json[]|{[name: string]: Json}} Json
 * @typedef {{[name: string]: any}} Data the application's own, with a message or an event
 * @typedef {{id: string, name: string|null}} Author
 * @typedef {Record<string, {count: number, users: string[]}>} Reactions by emoji; `users`: up to 10, the earliest first
 *
 * @typedef {object} Message
 * @property {string} id
 * @property {string} channel
 * @property {Author} author
 * @property {string} text
 * @property {Data|null} data
 * @property {string|null} reply_to
 * @property {string|null} key as it was sent
 * @property {string} created_at
 * @property {string|null} edited_at
 * @property {number} version
 * @property {number} offset of its creation
 * @property {string[]} [mentions] users, or ["*"]
 * @property {Reactions} reactions
 * @property {Author} [edited_by] a moderator
 * @property {undefined} [deleted]
 *
 * @typedef {{id: string, channel: string, deleted: true, offset?: number, deleted_by?: Author}} DeletedMessage has no text
 *
 * @typedef {{channel: string, epoch: string, offset: number, at: string}} Placed
 * @typedef {Placed & {event: "message:created", message: Message|DeletedMessage}} MessageCreated
 * @typedef {Placed & {event: "message:edited", message: Message|DeletedMessage}} MessageEdited
 * @typedef {Placed & {event: "message:deleted", message: DeletedMessage}} MessageDeleted
 * @typedef {Placed & {event: "reaction:changed", id: string, reactions: Reactions}} ReactionChanged the whole state
 * @typedef {Placed & {event: "event:published", name: string, author: Author, data: any, key: string|null}} EventPublished
 * @typedef {MessageCreated|MessageEdited|MessageDeleted|ReactionChanged|EventPublished} LogEvent
 * @typedef {Omit<EventPublished, "epoch"|"offset"|"at"> & Partial<Placed>} AnyPublished without `offset`: it is not in the
 *   log, and is not brought again
 *
 * @typedef {{user: string, name: string|null, since?: string}} Member
 * @typedef {{members: Member[], count: number, complete: boolean}} Roster those that are there longest first; `complete`:
 *   all of them
 * @typedef {{count: number, mentions: number, readOffset: number}} Unread
 * @typedef {{user: string, offset: number}} Receipt how far a user has read
 *
 * @typedef {object} InboxEntry
 * @property {string} channel
 * @property {string} epoch
 * @property {number} offset
 * @property {{id: string, author?: Author, text?: string, at: string, deleted?: true}|null} last
 * @property {number} read_offset
 * @property {number} unread
 * @property {number} unread_mentions
 * @typedef {{channels: InboxEntry[], next: string|null}} Inbox
 *
 * @typedef {object} SessionInfo
 * @property {string} user
 * @property {string} session
 * @property {string} expires_at
 * @property {{[name: string]: any}} [limits]
 * @property {{interval_ms: number, timeout_ms: number}} [heartbeat]
 * @property {{version: string}} [server]
 *
 * @typedef {{message: Message|DeletedMessage, epoch: string, offset: number, duplicate: boolean}} Sent
 * @typedef {{channel: string, text: string, key: string, data?: Data, reply_to?: string, mentions?: string[]}} Unsent
 * @typedef {{channel: string, epoch: string, offset: number, messages: (Message|DeletedMessage)[]}} Joined `messages`: the
 *   last, if `history` was asked for
 * @typedef {{history?: number, since?: Position, presence?: boolean}} JoinOptions the last `history` events, or all after
 *   a kept position; `presence: false`: no events of who comes and goes, until `presence` is called or another join is
 *   without it
 * @typedef {{messages: (Message|DeletedMessage)[], epoch: string, offset: number, more: boolean}} Page
 * @typedef {{events: EventPublished[], epoch: string, offset: number, more: boolean}} EventPage
 *
 * @typedef {Exclude<LogEvent, EventPublished>|AnyPublished} Named
 * @typedef {{[Event in Named as Event["event"]]: Event}} NamedEvents
 * @typedef {NamedEvents & {
 *   event: LogEvent,
 *   reset: {channel: string, reason: string, epoch: string, offset: number},
 *   removed: {channel: string, code: string, reason?: string},
 *   delayed: {channel: string, key: string|null, error: MaruError, waitMs: number},
 *   presence: {channel: string} & Roster,
 *   typing: {channel: string, users: string[]},
 *   unread: {channel: string} & Unread,
 *   read: {channel: string} & Receipt,
 *   queued: Unsent,
 *   settled: {channel: string, key: string, error: MaruError|null, sent: Sent|null},
 * }} ChannelEvents
 *   `event`: each event of the log, in order, once; then again under its own name. `event:published`: also those that are
 *   not in the log. `reset`: events are missing, read the channel's history. `removed`: the session is no longer in a
 *   channel that the application has not left; `reason` in the words of the application's own rules, if they have given
 *   it. `delayed`: the server has refused a send (`key`) or a join (null) for now, for instance as `rate_limited`: it is
 *   tried again after `waitMs`. `presence`: the users in the channel have changed; told once somebody has asked.
 *   `typing`: the others who are typing. `unread` has changed. `read`: another member has read that far. `queued`: a
 *   send waits. `settled`: the outcome of a send, also of one that was made before a reload.
 *
 * @typedef {object} ClientEvents
 * @property {{state: State, error: MaruError|null}} state has changed; `error` is its reason, if there is one
 * @property {SessionInfo} ready the session: commands can be sent
 * @property {Inbox} inbox the channels that the user follows, if the option `inbox` asks for them
 * @property {{sends: Unsent[]}} restored these were sent before a reload or by a tab that is gone, and wait again
 *
 * @typedef {ChannelEvents & ClientEvents} Events
 */

export {};
