// A user's file: everything is right but the lines that say so.
import { createMaru, MaruError, type LogEvent, type Message } from "@maru/client";
import { useChannel, usePresence, useUnread } from "@maru/client/react";
import { asyncStore, indexedDbStore, localStore, type Store } from "@maru/client/storage";
import { io } from "socket.io-client";

const store: Store = localStore("alice");
const maru = createMaru({ io, url: "https://chat.example.com", getToken: async () => "token", storage: store, inbox: 50 });

maru.on("state", ({ state, error }) => {
  const online: boolean = state === "online";
  const code: string | undefined = error?.code;
  return [online, code];
});
maru.on("message:created", ({ message, offset }) => {
  if (message.deleted) return;
  const text: string = message.text;
  const at: number = offset;
  console.log(text, at, message.reactions["+1"]?.count);
});
maru.on("event", (event: LogEvent) => {
  switch (event.event) {
    case "reaction:changed":
      return Object.keys(event.reactions);
    case "event:published":
      return event.name;
    default:
      return event.message.id;
  }
});

const room = maru.channel("room:lobby");
room.on("typing", ({ users }) => users.map((user) => user.toUpperCase()));
room.on("unread", ({ count, mentions }) => count + mentions);
room.on("presence", ({ members, count, complete }) => complete && members.length === count);

export async function use(): Promise<Message[]> {
  const { messages } = await room.join({ history: 20 });
  const { message, duplicate } = await room.send("Hello", { mentions: ["bob"], data: { kind: "greeting" } });
  await room.react(message.id, "👍");
  await room.publish("step", { x: 1 }, { log: false });
  room.markRead();
  room.typing();
  const { next } = await maru.inbox({ limit: 10 });
  const { read } = await room.receipts();
  console.log(duplicate, next, read[0]?.offset, room.unread?.count);
  return messages.filter((each): each is Message => !each.deleted);
}

export function Component() {
  const { messages, send, status } = useChannel("room:lobby", { history: 20 });
  const { members } = usePresence("room:lobby");
  const { count, markRead } = useUnread("room:lobby");
  markRead();
  send("hi").catch((error: MaruError) => error.retryAfterMs);
  return [messages.length, members[0]?.user, count, status === "joined"];
}

indexedDbStore("alice");
asyncStore("alice", {
  getAllKeys: async () => ["a"],
  getItem: async () => null,
  setItem: async () => {},
  removeItem: async () => {},
});

// @ts-expect-error no such event
maru.on("mesage", () => {});
// @ts-expect-error a channel has no connection state
room.on("state", () => {});
// @ts-expect-error a message may be deleted, and then it has no text
maru.on("message:created", ({ message }) => message.text.length);
// @ts-expect-error a reaction has no message
maru.on("reaction:changed", ({ message }) => message);
// @ts-expect-error an event that is not in the log has no offset
maru.on("event:published", ({ offset }) => offset + 1);
// @ts-expect-error getToken is missing
createMaru({ io });
// @ts-expect-error a text is a text
maru.send("room:lobby", 5);
// @ts-expect-error no such option
maru.send("room:lobby", "hi", { mention: ["bob"] });
// @ts-expect-error the state has five names
maru.on("state", ({ state }) => state === "connected");
// @ts-expect-error an unread count is not known at once
room.unread.count;
// @ts-expect-error a hook needs the channel's name
useChannel();
// @ts-expect-error storage is a store, not localStorage itself
createMaru({ io, getToken: () => "t", storage: localStorage });
