/** Channel objects, names of events, the address. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { joined, online, ROOM, setUp } from "./client.js";
import { settled } from "./fake_server.js";

const OTHER = "room:other";
const said = (server, name) => server.commands.filter(([event]) => event === name).length;

test("each object hears its own channel, under the event's name too", async () => {
  const { maru, server } = await online();
  const [one, other] = [maru.channel(ROOM), maru.channel(OTHER)];
  const heard = [];
  one.on("event", (event) => heard.push(["event", event.offset]));
  one.on("message:created", ({ message }) => heard.push(["created", message.text]));
  one.on("message:deleted", ({ message }) => heard.push(["deleted", message.id]));
  other.on("event", () => heard.push("other"));
  await Promise.all([one.join(), other.join()]);
  server.post(ROOM, "a");
  server.erase(ROOM, "m1");
  assert.deepEqual(heard, [["event", 1], ["created", "a"], ["event", 2], ["deleted", "m1"]]);
});

test("a channel is left when the last of those that have joined it leaves", async () => {
  const { maru, server, offsets } = await joined();
  const [one, two] = [maru.channel(ROOM), maru.channel(ROOM)];
  const heard = [];
  one.on("event", ({ offset }) => heard.push(offset));
  await Promise.all([one.join(), two.join()]);
  await maru.leave(ROOM);
  server.post(ROOM, "a");
  await one.leave();
  await one.leave();
  server.post(ROOM, "b");
  assert.equal(said(server, "channel:leave"), 0);
  await two.leave();
  assert.equal(said(server, "channel:leave"), 1);
  server.post(ROOM, "c");
  assert.deepEqual([heard, offsets()], [[1], [1, 2]]);
  await one.join();
  assert.equal(said(server, "channel:join"), 2);
});

test("who leaves before the join is answered has an error; the others stay", async () => {
  const { maru, server } = await online();
  server.intercept = (event) => (event === "channel:join" ? "hold" : undefined);
  const one = maru.channel(ROOM);
  const join = assert.rejects(one.join(), { code: "closed" });
  await settled();
  one.leave();
  await join;
  server.intercept = null;
  await maru.channel(ROOM).join();
});

test("a channel that is refused or removed is nobody's: the next join asks again", async () => {
  const { maru, server } = await online();
  const [one, two] = [maru.channel(ROOM), maru.channel(ROOM)];
  server.grants = () => false;
  await assert.rejects(one.join(), { code: "permission_denied" });
  server.grants = () => true;
  await two.join();
  await two.leave();
  assert.equal(said(server, "channel:leave"), 1);
  const removed = [];
  one.on("removed", ({ code }) => removed.push(code));
  await one.join();
  server.emit("channel:removed", { channel: ROOM, code: "permission_denied" });
  assert.deepEqual(removed, ["permission_denied"]);
});

test("every join with history resolves with messages, also beside another", async () => {
  const { clock, maru, server } = await online();
  server.post(ROOM, "a");
  server.post(ROOM, "b");
  server.erase(ROOM, "m1");
  const texts = ({ messages }) => messages.map(({ text, deleted }) => text ?? deleted);
  assert.deepEqual(texts(await maru.join(ROOM, { history: 20 })), [true, "b"]);
  assert.equal((await maru.channel(ROOM).join({ history: 1 })).messages.length, 1);
  assert.deepEqual((await maru.channel(ROOM).join()).messages, []);
  let losses = 1;
  server.intercept = (event) => (event === "history:read" && losses-- > 0 ? "lose" : undefined);
  const late = maru.channel(ROOM).join({ history: 2 });
  await settled();
  server.drop();
  await clock.advance(5_000);
  assert.equal((await late).messages.length, 2);
});

test("an object does what the client does", async () => {
  const { maru, server } = await joined();
  const room = maru.channel(ROOM);
  const heard = [];
  room.on("event:published", ({ name, data, offset }) => heard.push([name, data, offset]));
  await room.send("hello", { mentions: ["bob"], data: { a: 1 }, replyTo: "m0" });
  await room.edit("m1", "x");
  await room.remove("m1");
  await room.react("m1", "+1");
  await room.unreact("m1", "+1");
  await room.publish("step", { x: 1 }, { key: "k" });
  await room.publish("cursor", 5, { log: false });
  await room.events({ name: "step" });
  await room.history({ limit: 5 });
  await room.presence();
  await room.receipts();
  await room.follow();
  await room.unfollow();
  assert.deepEqual(heard, [["step", { x: 1 }, 3], ["cursor", 5, undefined]]);
  const [, sent] = server.commands.find(([event]) => event === "message:send");
  assert.deepEqual([sent.mentions, sent.data, sent.reply_to], [["bob"], { a: 1 }, "m0"]);
  const published = server.commands.filter(([event]) => event === "event:publish").map(([, data]) => data);
  assert.deepEqual(published, [
    { channel: ROOM, name: "step", data: { x: 1 }, key: "k" },
    { channel: ROOM, name: "cursor", data: 5, log: false },
  ]);
  assert.deepEqual([room.unread.count, room.typists, room.roster.count], [0, [], 0]);
});

test("a name that is no event is an error that lists the names", () => {
  const { maru } = setUp();
  assert.throws(() => maru.on("mesage", () => {}), /there is no event "mesage"; there are: event, message:created/);
  assert.throws(() => maru.channel(ROOM).on("state", () => {}), TypeError);
  assert.throws(() => maru.on("state"), /needs a function/);
});

test("an address with a slash or the namespace at its end is the server's", async () => {
  for (const url of ["https://h.test", "https://h.test/", "https://h.test/chat", "https://h.test//chat/"]) {
    const { server } = await online({ url });
    assert.equal(server.dialled[0].url, "https://h.test/chat");
  }
});

test("the log hears each step, and no token or text", async () => {
  const entries = [];
  const { maru, server } = await joined({ log: (entry) => entries.push(entry) });
  await maru.send(ROOM, "a secret");
  server.drop();
  const names = new Set(entries.map(({ event }) => event));
  assert.deepEqual([...names], ["state", "connecting", "heard", "command"]);
  assert.doesNotMatch(JSON.stringify(entries), /secret|token-/);
  assert.deepEqual(entries.find(({ command }) => command === "message:send").code, "ok");
});
