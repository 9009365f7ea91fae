/** What a user has not read: equal to the server's count at every step. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { joined, online, ROOM } from "./client.js";
import { settled } from "./fake_server.js";

const counts = ({ maru }) => {
  const { count, mentions, readOffset } = maru.unread(ROOM);
  return { read_offset: readOffset, unread: count, unread_mentions: mentions };
};

test("a join brings the count, and messages, mentions and deletions change it", async () => {
  const all = await online();
  const { maru, server } = all;
  const told = [];
  maru.on("unread", ({ channel, count }) => told.push([channel, count]));
  server.post(ROOM, "a");
  server.post(ROOM, "b", { mentions: ["ann"] });
  await maru.join(ROOM, { history: 10 });
  assert.deepEqual(maru.unread(ROOM), { count: 2, mentions: 1, readOffset: 0 });
  server.post(ROOM, "c", { mentions: ["*"] });
  server.post(ROOM, "d");
  assert.deepEqual(counts(all), server.people.counts(ROOM));
  server.erase(ROOM, "m3");
  assert.deepEqual(counts(all), { read_offset: 0, unread: 3, unread_mentions: 1 });
  assert.deepEqual(told, [[ROOM, 2], [ROOM, 3], [ROOM, 4], [ROOM, 3]]);
});

test("marks go out at most once a second, the latest of them, and the count is right at once", async () => {
  const all = await joined();
  const { clock, maru, server } = all;
  for (const text of ["a", "b", "c", "d"]) server.post(ROOM, text);
  for (const offset of [1, 2, 3]) maru.markRead(ROOM, offset);
  assert.equal(maru.unread(ROOM).count, 1);
  await settled();
  const marks = () => server.commands.filter(([event]) => event === "read:mark").map(([, data]) => data.offset);
  assert.deepEqual(marks(), [1]);
  await clock.advance(900);
  maru.markRead(ROOM);
  assert.deepEqual(marks(), [1]);
  await clock.advance(200);
  assert.deepEqual(marks(), [1, 4]);
  assert.deepEqual(counts(all), { read_offset: 4, unread: 0, unread_mentions: 0 });
  await clock.advance(10_000);
  assert.equal(marks().length, 2);
});

test("a message of one's own reads everything before it", async () => {
  const all = await joined();
  all.server.post(ROOM, "a");
  await all.maru.send(ROOM, "mine");
  assert.deepEqual(counts(all), { read_offset: 2, unread: 0, unread_mentions: 0 });
});

test("a mark of another device counts at once; one of another member is told", async () => {
  const all = await joined();
  const { maru, server } = all;
  const read = [];
  maru.on("read", (receipt) => read.push(receipt));
  server.post(ROOM, "a");
  server.post(ROOM, "b");
  server.people.tell("read:updated", ROOM, { user: "ann", offset: 1 });
  server.people.tell("read:updated", ROOM, { user: "bob", offset: 2 });
  assert.equal(maru.unread(ROOM).count, 1);
  assert.deepEqual(read, [{ channel: ROOM, user: "bob", offset: 2 }]);
});

test("a mark made offline is not undone by the count of the next connection, and goes out there", async () => {
  const all = await joined();
  const { clock, maru, server } = all;
  for (const text of ["a", "b", "c"]) server.post(ROOM, text);
  server.drop();
  maru.markRead(ROOM, 2);
  server.post(ROOM, "d", { deliver: false });
  await clock.advance(10_000);
  assert.deepEqual(counts(all), { read_offset: 2, unread: 2, unread_mentions: 0 });
  assert.deepEqual(counts(all), server.people.counts(ROOM));
});

test("what can not be derived is asked for: a deletion among those that the server has counted", async () => {
  const all = await online();
  const { clock, maru, server } = all;
  for (const text of ["a", "b", "c"]) server.post(ROOM, text);
  await maru.join(ROOM);
  server.erase(ROOM, "m2");
  await clock.advance(3_000);
  assert.deepEqual(counts(all), { read_offset: 0, unread: 2, unread_mentions: 0 });
  maru.markRead(ROOM, 1);
  await clock.advance(3_000);
  assert.deepEqual(counts(all), { read_offset: 1, unread: 1, unread_mentions: 0 });
  server.erase(ROOM, "m1");
  await clock.advance(3_000);
  assert.deepEqual(counts(all), server.people.counts(ROOM));
});

test("whatever happens, in whatever order, ends in the server's count", async () => {
  let state = 7;
  const random = (below) => (state = (state * 1_103_515_245 + 12_345) % 2 ** 31) % below;
  for (let round = 0; round < 30; round++) {
    const all = await online();
    const { clock, maru, server } = all;
    for (let n = random(5); n > 0; n--) server.post(ROOM, "before");
    maru.join(ROOM, { history: random(5) });
    for (let step = 0; step < 40; step++) {
      const head = server.log(ROOM).events.length;
      const deliver = server.sockets.size > 0 && maru.state === "online";
      const doing = [
        () => server.post(ROOM, "x", { deliver, mentions: random(3) ? [] : ["ann"] }),
        () => server.post(ROOM, "x", { deliver }),
        () => head > 0 && deletable(server, 1 + random(head)) && server.erase(ROOM, `m${1 + random(head)}`, { deliver }),
        () => maru.markRead(ROOM, random(head + 1)),
        () => maru.send(ROOM, "mine").catch(() => {}),
        () => server.drop(),
        () => clock.advance(random(3_000)),
        () => settled(),
      ][random(8)];
      await doing();
    }
    await clock.advance(60_000);
    assert.deepEqual(counts(all), server.people.counts(ROOM), `round ${round}`);
    maru.close();
  }
});

/** Whether a message has that offset. */
function deletable(server, offset) {
  return server.log(ROOM).events[offset - 1].event === "message:created";
}
