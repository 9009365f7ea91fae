/**
 * A Maru server in memory, with the part of socket.io-client that the core uses, and a clock that tests move.
 * It keeps the protocol's promises (dense offsets, resume, keys), and fails when it is told to: `down`, `silent`,
 * `refusal`, `drop()`, and `intercept` to lose, hold or refuse a single command.
 */

import { Encoder, PacketType } from "socket.io-parser";

import { FakePeople } from "./fake_people.js";

const ME = "ann"; // the user of every session
const encoder = new Encoder();

export class Clock {
  #now = 1_000_000;
  #timers = new Map();
  #next = 1;

  now = () => this.#now;
  set = (run, ms) => {
    this.#timers.set(this.#next, { at: this.#now + Math.trunc(ms), run }); // whole milliseconds, as real timers
    return this.#next++;
  };
  clear = (timer) => void this.#timers.delete(timer);

  /** The process that has set the timers is gone. */
  kill() {
    this.#timers.clear();
  }

  get pending() {
    return this.#timers.size;
  }

  /** Lets time pass: runs the timers that fall due, in their order, and lets promises settle between them. */
  async advance(ms) {
    const end = this.#now + ms;
    await settled();
    for (let guard = 0; guard < 10_000; guard++) {
      const due = [...this.#timers].filter(([, timer]) => timer.at <= end).sort((a, b) => a[1].at - b[1].at)[0];
      if (!due) break;
      this.#now = Math.max(this.#now, due[1].at);
      this.#timers.delete(due[0]);
      due[1].run();
      await settled();
    }
    this.#now = end;
  }
}

/** Lets every promise settle that can. */
export function settled() {
  return new Promise((resolve) => setImmediate(resolve));
}

export class FakeServer {
  down = false;
  silent = false; // accepts the WebSocket and never answers CONNECT
  refusal = null; // {code, retryable}: CONNECT_ERROR; a function of auth may decide
  intercept = null; // (event, data) => "lose" | "lose-ack" | "hold" | error envelope | undefined
  grants = () => true; // whether a channel may be joined
  held = []; // functions, one for each command that `intercept` held: each executes its command and answers
  logs = new Map();
  sockets = new Set();
  dialled = []; // every socket opened
  connects = []; // every auth received
  commands = []; // every [event, data] received
  poison = () => false; // (event, data): a command for which the server closes the connection
  tokenLife = 3_600_000;
  user = ME; // of the sessions to come

  constructor(clock) {
    this.clock = clock;
    this.people = new FakePeople(this);
  }

  io = (url, options) => {
    const socket = new FakeSocket(this, url, options);
    this.dialled.push(socket);
    queueMicrotask(() => this.#connect(socket));
    return socket;
  };

  log(channel) {
    if (!this.logs.has(channel)) this.logs.set(channel, { epoch: "e1", events: [], keys: new Map() });
    return this.logs.get(channel);
  }

  /** Writes another user's message to the log, and delivers it to the channel's members. */
  post(channel, text, { deliver = true, key = null, author = "bob", mentions = [] } = {}) {
    const log = this.log(channel);
    const offset = log.events.length + 1;
    const message = {
      id: `m${offset}`,
      channel,
      author: { id: author, name: author },
      text,
      key,
      offset,
      version: 1,
      mentions,
      reactions: {},
    };
    const position = { channel, epoch: log.epoch, offset, at: "2026-01-01T00:00:00.000Z" };
    const event = { event: "message:created", ...position, message };
    log.events.push(event);
    if (author === ME) this.people.marks.set(channel, offset);
    if (deliver) this.deliver(event);
    return event;
  }

  /** Writes another event to the log, and delivers it. */
  append(channel, event, fields, { deliver = true } = {}) {
    const log = this.log(channel);
    const offset = log.events.length + 1;
    const placed = { event, channel, epoch: log.epoch, offset, at: "2026-01-01T00:00:00.000Z", ...fields };
    log.events.push(placed);
    if (deliver) this.deliver(placed);
    return placed;
  }

  /** Deletes a message. */
  erase(channel, id, options) {
    return this.append(channel, "message:deleted", { message: { id, channel, deleted: true } }, options);
  }

  deliver({ event, ...data }) {
    for (const socket of this.sockets) if (socket.rooms.has(data.channel)) socket.serverEmits(event, data);
  }

  /** The network fails: every WebSocket closes. */
  drop() {
    for (const socket of [...this.sockets]) socket.closes("transport close");
  }

  /** The replica of the oldest connection stops, and tells its client. Returns that connection's socket. */
  drains(reconnect_in_ms = 3_000) {
    const [socket] = this.sockets;
    socket.serverEmits("session:draining", { reconnect_in_ms, deadline_ms: reconnect_in_ms + 2_000 });
    return socket;
  }

  /** Sends a Socket.IO DISCONNECT, after `session:terminated` if there is a reason. */
  terminate(reason) {
    for (const socket of [...this.sockets]) {
      if (reason) socket.serverEmits("session:terminated", reason);
      socket.closes("io server disconnect");
    }
  }

  emit(event, data) {
    for (const socket of this.sockets) socket.serverEmits(event, data);
  }

  #connect(socket) {
    if (socket.dead) return;
    if (this.down) return socket.fire("connect_error", new Error("websocket error"));
    socket.options.auth((auth) => (socket.auth = auth)); // the positions of this moment
    if (!this.silent) this.answers(socket);
  }

  /**
   * Accepts or refuses a CONNECT. With `hold`, session:ready comes only when `socket.ready` is called; with
   * `hold: "resumes"` nothing comes before `socket.resumes` is called.
   */
  answers(socket, { hold = false } = {}) {
    const auth = JSON.parse(JSON.stringify(socket.auth));
    this.connects.push(auth);
    const refusal = typeof this.refusal === "function" ? this.refusal(auth) : this.refusal;
    if (refusal) return socket.fire("connect_error", Object.assign(new Error(refusal.code), { data: refusal }));
    socket.connected = true;
    this.sockets.add(socket);
    socket.resumes = () => {
      for (const [channel, since] of Object.entries(auth.resume ?? {})) this.#resume(socket, channel, since);
    };
    const expires_at = new Date(this.clock.now() + this.tokenLife).toISOString();
    if (auth.inbox) socket.serverEmits("inbox:state", this.people.inbox());
    socket.ready = () => socket.serverEmits("session:ready", { user: this.user, session: "s1", expires_at });
    if (hold !== "resumes") socket.resumes();
    if (!hold) socket.ready();
  }

  #resume(socket, channel, since) {
    if (!this.grants(channel)) {
      return socket.serverEmits("channel:removed", { channel, code: "permission_denied" });
    }
    socket.rooms.add(channel);
    socket.serverEmits("channel:resumed", { channel, ...this.#since(channel, since) });
  }

  #since(channel, since) {
    const { epoch, events } = this.log(channel);
    const head = { epoch, offset: events.length, ...this.people.counts(channel) };
    if (!since) return { ...head, recovered: null, events: [] };
    if (since.epoch !== epoch) return { ...head, recovered: false, reason: "epoch_changed", events: [] };
    return { ...head, recovered: true, events: events.filter((event) => event.offset > since.offset) };
  }

  /** Executes one command of a client; the answer goes to `ack`. */
  handle(socket, event, data, ack) {
    this.commands.push([event, data]);
    if (this.poison(event, data)) return socket.closes("transport close");
    const verdict = this.intercept?.(event, data);
    if (event === "channel:join" && !this.grants(data.channel)) {
      return ack({ ok: false, error: { code: "permission_denied", message: "no", retryable: false } });
    }
    if (verdict === "lose") return;
    if (verdict?.code) return ack({ ok: false, error: verdict });
    if (verdict === "hold") return void this.held.push(() => ack({ ok: true, ...this.#answer(socket, event, data) }));
    const answer = this.#answer(socket, event, data);
    if (verdict !== "lose-ack") ack({ ok: true, ...answer });
  }

  #answer(socket, event, data) {
    if (event === "channel:join") {
      socket.rooms.add(data.channel);
      const reply = this.#since(data.channel, data.since);
      if (data.history) reply.events = this.log(data.channel).events.slice(-data.history);
      return { channel: data.channel, ...reply };
    }
    if (event === "channel:leave") return void socket.rooms.delete(data.channel);
    if (event === "auth:refresh") {
      return { expires_at: new Date(this.clock.now() + this.tokenLife).toISOString() };
    }
    if (event !== "message:send") return this.people.answer(event, data) ?? {};
    const log = this.log(data.channel);
    const known = log.keys.get(data.key);
    const created = known ?? this.post(data.channel, data.text, { key: data.key, author: ME, mentions: data.mentions });
    log.keys.set(data.key, created);
    return { message: created.message, epoch: log.epoch, offset: created.offset, duplicate: Boolean(known) };
  }
}

class FakeSocket {
  connected = false;
  dead = false;
  auth = null; // of CONNECT
  rooms = new Set();
  #listeners = new Map();
  #acks = new Set();
  #timeout = 0;

  constructor(server, url, options) {
    this.server = server;
    this.url = url;
    this.options = options;
  }

  on(name, listener) {
    this.#listeners.set(name, listener);
  }

  timeout(ms) {
    this.#timeout = ms;
    return this;
  }

  emit(event, data, ack) {
    if (!this.connected) throw new Error(`${event} emitted while not connected: socket.io would buffer it`);
    const { clock } = this.server;
    const fail = (text) => {
      clock.clear(timer);
      if (this.#acks.delete(fail)) ack(new Error(text));
    };
    const timer = clock.set(() => fail("operation has timed out"), this.#timeout);
    this.#acks.add(fail);
    const packet = { type: PacketType.EVENT, nsp: "/chat", id: 1, data: [event, data] };
    if (encoder.encode(packet).length > 1) return queueMicrotask(() => this.closes("transport close")); // it is binary
    const wire = JSON.parse(JSON.stringify(data));
    queueMicrotask(() => {
      if (!this.connected) return;
      this.server.handle(this, event, wire, (answer) => {
        clock.clear(timer);
        if (this.#acks.delete(fail)) ack(null, answer);
      });
    });
  }

  disconnect() {
    this.dead = true;
    if (this.connected) this.closes("io client disconnect");
  }

  closes(reason) {
    this.connected = false;
    this.dead = true;
    this.server.sockets.delete(this);
    this.fire("disconnect", reason);
    for (const fail of [...this.#acks]) fail("socket has been disconnected");
  }

  serverEmits(event, data) {
    this.fire(event, JSON.parse(JSON.stringify(data)));
  }

  fire(name, value) {
    this.#listeners.get(name)?.(value);
  }
}
