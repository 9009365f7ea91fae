/** The people of a server in memory: presence, marks, reactions, events of applications, follows. */

export class FakePeople {
  marks = new Map(); // channel to the offset of ann's mark
  follows = new Set();
  rosters = new Map(); // channel to {epoch, version, members: Map}

  constructor(server) {
    this.server = server;
  }

  /** What ann has not read. */
  counts(channel) {
    const { events } = this.server.log(channel);
    const readOffset = this.marks.get(channel) ?? 0;
    const gone = new Set(events.filter(({ event }) => event === "message:deleted").map(({ message }) => message.id));
    const unread = events.filter(
      ({ event, offset, message }) => event === "message:created" && !message.deleted && offset > readOffset && !gone.has(message.id),
    );
    const mentions = unread.filter(({ message }) => message.mentions.some((name) => name === "*" || name === "ann"));
    return { read_offset: readOffset, unread: unread.length, unread_mentions: mentions.length };
  }

  roster(channel) {
    if (!this.rosters.has(channel)) this.rosters.set(channel, { epoch: "p1", version: 0, members: new Map() });
    return this.rosters.get(channel);
  }

  /** A user enters or leaves; the others are told. */
  moves(channel, user, { joins = true, tell = true } = {}) {
    const roster = this.roster(channel);
    if (joins) roster.members.set(user, { user, name: user, since: "2026-01-01T00:00:00.000Z" });
    else roster.members.delete(user);
    roster.version += 1;
    const head = { epoch: roster.epoch, version: roster.version, count: roster.members.size };
    if (tell) this.tell(joins ? "presence:joined" : "presence:left", channel, { user, name: user, ...head });
  }

  tell(event, channel, fields) {
    this.server.deliver({ event, channel, ...fields });
  }

  inbox() {
    const channels = [...this.follows].map((channel) => {
      const log = this.server.log(channel);
      return { channel, epoch: log.epoch, offset: log.events.length, last: null, ...this.counts(channel) };
    });
    return { channels, next: null };
  }

  answer(event, data) {
    const { channel } = data;
    switch (event) {
      case "read:mark": {
        const { events } = this.server.log(channel);
        this.marks.set(channel, Math.max(this.marks.get(channel) ?? 0, Math.min(data.offset, events.length)));
        const { read_offset: offset, ...counts } = this.counts(channel);
        return { offset, ...counts };
      }
      case "presence:read": {
        const { epoch, version, members } = this.roster(channel);
        return { members: [...members.values()], count: members.size, epoch, version, complete: true };
      }
      case "channel:follow":
        return void this.follows.add(channel);
      case "channel:unfollow":
        return void this.follows.delete(channel);
      case "inbox:read":
        return this.inbox();
      case "history:read": {
        const { epoch, events } = this.server.log(channel);
        const messages = events.filter((each) => each.event === "message:created").map((each) => each.message);
        return { messages: messages.slice(-data.limit), epoch, offset: events.length, more: false };
      }
      case "reaction:add": {
        const placed = this.server.append(channel, "reaction:changed", {
          id: data.id,
          reactions: { [data.emoji]: { count: 1, users: ["ann"] } },
        });
        return { epoch: placed.epoch, offset: placed.offset, duplicate: false };
      }
      case "event:publish": {
        const content = { name: data.name, author: { id: "ann", name: "ann" }, data: data.data, key: data.key ?? null };
        if (data.log === false) return void this.tell("event:published", channel, content);
        const placed = this.server.append(channel, "event:published", content);
        return { epoch: placed.epoch, offset: placed.offset, duplicate: false };
      }
    }
    return undefined;
  }
}
