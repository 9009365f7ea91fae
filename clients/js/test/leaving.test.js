/** After `leave` and `close`: the server is told until it is done, and the application gets nothing more. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { joined, online, replacing, ROOM, setUp } from "./client.js";
import { settled } from "./fake_server.js";

const REFUSED = { code: "unavailable", message: "skipped", retryable: true };

/** How often the server was asked to leave. */
function leaves(server) {
  return server.commands.filter(([event]) => event === "channel:leave").length;
}

test("a leave that fails is repeated until it is done", async () => {
  const { clock, server, maru } = await joined();
  const [socket] = server.sockets;
  const verdicts = [REFUSED, "lose", REFUSED];
  server.intercept = (event) => (event === "channel:leave" ? verdicts.shift() : undefined);
  const leave = maru.leave(ROOM);
  await clock.advance(30_000);
  await leave;
  assert.deepEqual([...socket.rooms], []);
  assert.equal(leaves(server), 4);
  assert.equal(clock.pending, 0);
});

test("a leave is done when its connection is over: the next one does not name the channel", async () => {
  const { clock, server, maru } = await joined();
  server.intercept = () => REFUSED;
  const leave = maru.leave(ROOM);
  await settled();
  server.intercept = null;
  server.drop();
  await leave;
  await clock.advance(30_000);
  assert.deepEqual(server.connects[1].resume, {});
  assert.equal(leaves(server), 1);
});

test("a channel that was left while CONNECT named it is left by its answer, until that is done", async () => {
  const { clock, server, maru, offsets } = await joined();
  server.drop();
  server.silent = true;
  await clock.advance(5_000);
  const socket = server.dialled.at(-1);
  await maru.leave(ROOM);
  server.intercept = (event) => (event === "channel:leave" && leaves(server) < 3 ? REFUSED : undefined);
  server.answers(socket);
  server.post(ROOM, "not heard");
  await clock.advance(30_000);
  assert.deepEqual([[...socket.rooms], offsets()], [[], []]);
});

test("a join makes an unanswered leave pointless: it is not repeated", async () => {
  const { clock, server, maru, offsets } = await joined();
  server.intercept = (event) => (event === "channel:leave" ? REFUSED : undefined);
  const leave = maru.leave(ROOM);
  await settled();
  await maru.join(ROOM);
  server.intercept = null;
  await clock.advance(30_000);
  await leave;
  server.post(ROOM, "heard");
  assert.deepEqual([offsets(), leaves(server)], [[1], 1]);
});

test("a leave during the handover is repeated on the replacement too", async () => {
  const { clock, server, maru, next } = await replacing();
  server.answers(next, { hold: true });
  server.intercept = (event) => (event === "channel:leave" && leaves(server) < 4 ? REFUSED : undefined);
  maru.leave(ROOM);
  await settled();
  next.ready();
  await clock.advance(30_000);
  assert.deepEqual([...next.rooms], []);
});

test("a leave that can never be done rejects, and is not repeated", async () => {
  const { clock, server, maru } = await joined();
  server.intercept = () => ({ code: "bad_request", retryable: false });
  await assert.rejects(maru.leave(ROOM), { code: "bad_request" });
  await clock.advance(30_000);
  assert.equal(leaves(server), 1);
});

test("nothing is given after leave or close, whichever event of an answer they are called in", async () => {
  for (const end of ["leave", "close"]) {
    for (const at of [1, 2, 3, 4, 5]) {
      const { clock, server, maru, told, offsets } = await online();
      for (const text of ["a", "b", "c"]) server.post(ROOM, text);
      maru.on("event", ({ offset }) => offset === at && maru[end](ROOM));
      server.intercept = (event) => (event === "channel:join" ? "hold" : undefined);
      maru.join(ROOM, { since: { epoch: "e1", offset: 0 } }).catch(() => {});
      await settled();
      const held = { ...server.log(ROOM).events[0], offset: 4 };
      for (const offset of [4, 5]) server.emit("message:created", { ...held, offset });
      for (const answer of server.held.splice(0)) answer();
      await clock.advance(100);
      server.intercept = null;
      assert.deepEqual(offsets(), Array.from({ length: at }, (_, n) => n + 1));
      if (end === "leave") continue;
      for (const text of ["d", "e"]) server.post(ROOM, text);
      maru.connect(); // goes on behind the last event that was given
      await settled();
      assert.deepEqual([offsets(), told.resets], [[1, 2, 3, 4, 5], []]);
    }
  }
});

test("close in a listener of a reset: the next session does not tell it again, and misses nothing", async () => {
  const { clock, server, maru, told, offsets } = await joined();
  server.post(ROOM, "a");
  maru.on("reset", () => maru.close());
  Object.assign(server.log(ROOM), { epoch: "e2", events: [] });
  server.drop();
  await clock.advance(5_000);
  assert.equal(maru.state, "signed-out");
  server.post(ROOM, "b");
  maru.connect();
  await settled();
  assert.deepEqual([offsets(), told.resets.length], [[1, 1], 1]);
});

test("a listener that another listener has taken off is not called", async () => {
  const { server, maru } = await joined();
  const heard = [];
  maru.on("event", () => off());
  const off = maru.on("event", (event) => heard.push(event));
  server.post(ROOM, "a");
  assert.deepEqual(heard, []);
});

/** A small generator of numbers, the same for each seed. @param {number} seed */
function numbers(seed) {
  let state = seed * 2_654_435_761;
  return (/** @type {number} */ below) => {
    state = (Math.imul(state ^ (state >>> 15), 2_246_822_519) + 374_761_393) >>> 0;
    return state % below;
  };
}

/** What may happen to a client; each returns nothing that the test waits for. */
const STEPS = {
  post: ({ server }) => server.post(ROOM, "live"),
  miss: ({ server }) => server.post(ROOM, "lost", { deliver: false }),
  drop: ({ server }) => server.drop(),
  drain: ({ server }) => server.sockets.size > 0 && server.drains(100),
  restart: ({ server }) => Object.assign(server.log(ROOM), { epoch: `${server.log(ROOM).epoch}+`, events: [] }),
  hold: ({ server }) => (server.intercept = () => "hold"),
  refuse: ({ server }) => (server.intercept = () => REFUSED),
  release({ server }) {
    server.intercept = null;
    for (const answer of server.held.splice(0)) answer();
  },
  leave: ({ leave }) => settled().then(leave), // promises that are resolved already may be seen before it
  close: ({ close }) => settled().then(close),
  join: ({ join }) => join(),
  wait: ({ clock }) => clock.advance(1_500),
  tick: () => settled(),
};

test("whatever happens: events come in order without a silent hole, and never after leave or close", async () => {
  for (let seed = 1; seed <= 150; seed++) {
    const random = numbers(seed);
    const all = setUp();
    const { clock, server, maru } = all;
    const faults = [];
    let isOpen = false; // joined, and neither left nor closed
    let generation = 0;
    let last = null; // of the open subscription
    const gets = (what) => isOpen || faults.push(`${what} while nothing is joined`);
    maru.on("event", ({ epoch, offset }) => {
      gets(`event ${offset}`);
      if (last && (last.epoch !== epoch || last.offset + 1 !== offset)) {
        faults.push(`${offset} of ${epoch} after ${last.offset} of ${last.epoch}`);
      }
      last = { epoch, offset };
    });
    maru.on("reset", ({ epoch, offset }) => {
      gets("reset");
      last = { epoch, offset };
    });
    maru.on("removed", () => faults.push("removed"));
    const context = {
      ...all,
      join() {
        if (maru.state === "signed-out") maru.connect();
        if (isOpen) return;
        isOpen = true;
        const mine = ++generation;
        const since = last ?? undefined;
        if (maru.positions()[ROOM]) return; // closed, and not left
        maru.join(ROOM, { since }).then(
          () => mine === generation || faults.push("a join that is over has resolved"),
          () => {},
        );
      },
      leave() {
        isOpen = false;
        generation += 1;
        maru.leave(ROOM).catch(() => {});
      },
      close() {
        isOpen = false;
        generation += 1;
        maru.close();
      },
    };
    maru.connect();
    const names = Object.keys(STEPS);
    const path = [];
    for (let n = 0; n < 40; n++) {
      const name = names[random(names.length)];
      path.push(name);
      await STEPS[name](context);
    }
    STEPS.release(context);
    context.join();
    await clock.advance(30_000);
    STEPS.release(context);
    await clock.advance(30_000);
    server.post(ROOM, "the end");
    await clock.advance(30_000);
    const head = server.log(ROOM);
    assert.deepEqual(faults, [], `seed ${seed}: ${path}`);
    assert.deepEqual(last, { epoch: head.epoch, offset: head.events.length }, `seed ${seed}: ${path}`);
  }
});
