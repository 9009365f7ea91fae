/** Presence and typing. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { joined, online, replacing, ROOM } from "./client.js";
import { settled } from "./fake_server.js";

const names = (roster) => roster.members.map(({ user }) => user);
const reads = (server) => server.commands.filter(([event]) => event === "presence:read").length;

test("a roster is a snapshot and the changes since; a hole is read again", async () => {
  const { clock, maru, server } = await joined();
  const told = [];
  maru.on("presence", (roster) => told.push(names(roster)));
  server.people.moves(ROOM, "ann");
  server.people.moves(ROOM, "bob");
  assert.deepEqual(told, []); // nobody has asked
  assert.deepEqual(names(await maru.presence(ROOM)), ["ann", "bob"]);
  server.people.moves(ROOM, "cid");
  server.people.moves(ROOM, "bob", { joins: false });
  assert.deepEqual(told.slice(1), [["ann", "bob", "cid"], ["ann", "cid"]]);
  server.people.moves(ROOM, "dan", { tell: false });
  server.people.moves(ROOM, "eva");
  await clock.advance(5_000);
  const roster = await maru.presence(ROOM);
  assert.deepEqual([names(roster), roster.count, roster.complete], [["ann", "cid", "dan", "eva"], 4, true]);
  assert.equal(reads(server), 2);
});

test("changes that come while the snapshot is on its way are neither lost nor doubled", async () => {
  const { maru, server } = await joined();
  server.people.moves(ROOM, "ann");
  server.intercept = (event) => (event === "presence:read" ? "hold" : undefined);
  const roster = maru.presence(ROOM);
  await settled();
  server.people.moves(ROOM, "bob");
  server.intercept = null;
  server.held.splice(0)[0](); // the snapshot has bob already
  server.people.moves(ROOM, "cid");
  await roster;
  assert.deepEqual(names(maru.channel(ROOM).roster), ["ann", "bob", "cid"]);
  assert.equal(reads(server), 1);
});

test("a big channel tells its number, and names again when it is small", async () => {
  const { clock, maru, server } = await joined();
  server.people.moves(ROOM, "ann");
  await maru.presence(ROOM);
  server.people.tell("presence:count", ROOM, { count: 501, epoch: "p1", version: 501, names: false });
  const channel = maru.channel(ROOM);
  assert.deepEqual([channel.roster.count, channel.roster.complete], [501, false]);
  Object.assign(server.people.roster(ROOM), { version: 700 });
  server.people.tell("presence:count", ROOM, { count: 1, epoch: "p1", version: 700, names: true });
  await clock.advance(1_000);
  assert.deepEqual([channel.roster.count, channel.roster.complete], [1, true]);
});

test("the next connection reads the roster again, since changes may have been missed", async () => {
  const { clock, maru, server } = await joined();
  server.people.moves(ROOM, "bob");
  await maru.presence(ROOM);
  server.drop();
  server.people.moves(ROOM, "bob", { joins: false });
  server.people.moves(ROOM, "cid");
  assert.deepEqual(names(maru.channel(ROOM).roster), ["bob"]);
  await clock.advance(5_000);
  assert.deepEqual(names(maru.channel(ROOM).roster), ["cid"]);
});

test("so does a replacement", async () => {
  const { clock, maru, server, next } = await replacing();
  server.people.moves(ROOM, "bob");
  await maru.presence(ROOM);
  server.people.moves(ROOM, "cid", { tell: false });
  server.answers(next);
  await clock.advance(1_000);
  assert.deepEqual(names(maru.channel(ROOM).roster), ["bob", "cid"]);
});

test("a roster that can not be read now is read later; without the right to it, the caller hears so", async () => {
  const { clock, maru, server } = await joined();
  let refusals = 1;
  server.intercept = (event) => event === "presence:read" && refusals-- > 0 && { code: "rate_limited", retryable: true };
  const roster = maru.presence(ROOM);
  await clock.advance(5_000);
  assert.equal((await roster).count, 0);
  server.intercept = () => ({ code: "permission_denied", retryable: false });
  server.drop();
  await clock.advance(5_000);
  await assert.rejects(maru.presence("room:other"), { code: "not_joined" });
});

test("who types is told, and ends by itself, with the message, and when the user leaves", async () => {
  const { clock, maru, server } = await joined();
  const told = [];
  maru.on("typing", ({ users }) => told.push(users));
  const types = (user, typing = true) => server.people.tell("typing:changed", ROOM, { user, typing, expires_in_ms: 8_000 });
  types("bob");
  types("ann"); // the same user, on another device
  await clock.advance(5_000);
  types("bob");
  await clock.advance(5_000);
  assert.deepEqual(told, [["bob"]]);
  await clock.advance(3_100);
  assert.deepEqual(told, [["bob"], []]);
  types("bob");
  server.post(ROOM, "hello");
  types("cid");
  server.people.moves(ROOM, "cid", { joins: false });
  types("bob");
  types("bob", false);
  types("dan");
  server.drop();
  assert.deepEqual(told.slice(2), [["bob"], [], ["cid"], [], ["bob"], [], ["dan"], []]);
});

test("typing is told at most every 3 s, and its end if it was told", async () => {
  const { clock, maru, server } = await joined();
  const said = () => server.commands.filter(([event]) => event.startsWith("typing")).map(([event]) => event);
  for (let n = 0; n < 10; n++) {
    maru.typing(ROOM);
    await clock.advance(400);
  }
  assert.deepEqual(said(), ["typing:start", "typing:start"]);
  maru.typing(ROOM, false);
  maru.typing(ROOM, false);
  await settled();
  assert.deepEqual(said().slice(2), ["typing:stop"]);
  maru.typing(ROOM);
  await maru.send(ROOM, "hello");
  maru.typing(ROOM, false); // the message has ended it
  maru.typing(ROOM);
  await settled();
  assert.deepEqual(said().slice(3), ["typing:start", "typing:start"]);
});

test("an inbox comes with the first connection, not with the next", async () => {
  const told = [];
  const { clock, maru, server } = await online({ inbox: 50 });
  maru.on("inbox", (inbox) => told.push(inbox));
  assert.equal(server.connects[0].inbox, 50);
  server.drop();
  await clock.advance(5_000);
  assert.equal(server.connects[1].inbox, undefined);
  await maru.follow(ROOM);
  assert.deepEqual((await maru.inbox()).channels.map(({ channel }) => channel), [ROOM]);
  await maru.unfollow(ROOM);
  assert.deepEqual((await maru.inbox({ limit: 1 })).channels, []);
});
