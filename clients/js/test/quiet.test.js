/** Channels that are joined without presence events: what is told to the server, and when they are wanted after all. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { online, ROOM } from "./client.js";
import { settled } from "./fake_server.js";

const joins = (server) => server.commands.filter(([event]) => event === "channel:join").map(([, data]) => data);
const wishes = (server) => joins(server).map(({ presence }) => presence);

test("a quiet join says so, and so does each later connection", async () => {
  const { clock, maru, server } = await online();
  await maru.join(ROOM, { presence: false });
  await maru.join("room:loud");
  assert.deepEqual(wishes(server), [false, undefined]);
  server.post(ROOM, "a");
  server.drop();
  await clock.advance(5_000);
  const { resume } = server.connects.at(-1);
  assert.deepEqual([resume[ROOM], resume["room:loud"]], [
    { epoch: "e1", offset: 1, presence: false },
    { epoch: "e1", offset: 0 },
  ]);
  assert.deepEqual(maru.positions()[ROOM], { epoch: "e1", offset: 1 });
});

test("another join without the wish, or a call of presence, joins again once; a quiet one beside it changes nothing", async () => {
  const { clock, maru, server } = await online();
  const [quiet, loud] = [maru.channel(ROOM), maru.channel(ROOM)];
  await quiet.join({ presence: false });
  await maru.join(ROOM, { presence: false });
  assert.deepEqual(wishes(server), [false]);
  await loud.join();
  await maru.join(ROOM, { presence: false });
  assert.deepEqual(wishes(server), [false, undefined]);

  await maru.join("room:b", { presence: false });
  server.people.moves("room:b", "bob");
  const { count } = await maru.presence("room:b");
  assert.equal(count, 1);
  assert.deepEqual(wishes(server), [false, undefined, false, undefined]);
  server.people.moves("room:b", "cid");
  assert.equal(maru.channel("room:b").roster.count, 2);
  server.drop();
  await clock.advance(5_000);
  assert.equal("presence" in server.connects.at(-1).resume["room:b"], false);
});

test("asked for while a quiet join is on its way: the history comes, and then the presence", async () => {
  const { maru, server } = await online();
  server.post(ROOM, "a");
  server.intercept = (event) => (event === "channel:join" ? "hold" : undefined);
  const join = maru.join(ROOM, { history: 5, presence: false });
  await settled();
  const roster = maru.presence(ROOM);
  server.intercept = null;
  server.held.splice(0)[0]();
  assert.deepEqual((await join).messages.map(({ text }) => text), ["a"]);
  await roster;
  await settled();
  assert.deepEqual(wishes(server), [false, undefined]);
});

test("asked for while the next connection resumes it quietly: it is joined there", async () => {
  const { clock, maru, server } = await online();
  await maru.join(ROOM, { presence: false });
  server.silent = true;
  const old = server.drains(0);
  await clock.advance(10);
  server.silent = false;
  const next = server.dialled.at(-1);
  assert.notEqual(next, old);
  server.answers(next, { hold: true });
  await maru.presence(ROOM);
  next.ready();
  await clock.advance(100);
  assert.deepEqual(wishes(server), [false, undefined, undefined]); // the second on the old one, the third on the next
});
