// Many JavaScript clients in one process, of one kind: `core` (our client core) or `bare` (socket.io-client alone).
//
// Orders, JSON lines: {do: "enter", url, kind, members: [{user, token, channel}]} · {do: "talk", talkers: [user], every_ms}
//     · {do: "hush"} · {do: "report", heads: {channel: offset}, within_ms} · end of input: leave.
// Each order is answered by one line: {}, or {members: [account of each]} to "report".
// Times are seconds of CLOCK_MONOTONIC, which all processes of a machine share.
import { createHash } from "node:crypto";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

import { createMaru } from "../../clients/js/src/index.js";

const here = createRequire(new URL("../../clients/js-demo/package.json", import.meta.url));
const { io } = here("socket.io-client");
const ACKED_MS = 20_000; // for the messages that are unanswered when the talk ends
const RETRY_MS = 500; // before a join that was refused for now is repeated
const LOOK_MS = 50; // between two checks of a condition that has no event
const say = (line) => process.stdout.write(JSON.stringify(line) + "\n");
const now = () => Number(process.hrtime.bigint()) / 1e9;
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const members = [];
let talking = false;

/** A member's account of its channel. */
class Member {
  constructor({ user, token, channel }, kind) {
    Object.assign(this, { user, token, channel, kind, first: 0, last: null, count: 0, sent: 0, open: 0 });
    Object.assign(this, { faults: [], acks: {}, failed: {}, attempts: [], heardAt: 0, gap: 0, gapAt: 0 });
    this.digest = createHash("sha256");
  }

  /** An event as the application gets it. */
  hear({ offset, message }) {
    if (this.last !== null && offset !== this.last + 1) this.fault(`${offset} after ${this.last}`);
    this.first ||= offset;
    this.last = offset;
    this.count += 1;
    this.digest.update(`${offset} ${message.id} ${message.text}\n`);
    this.hearNothingMore();
  }

  /** Ends the silence since the last event. */
  hearNothingMore() {
    if (!talking) return;
    const at = now();
    if (at - this.heardAt > this.gap) Object.assign(this, { gap: at - this.heardAt, gapAt: at });
    this.heardAt = at;
  }

  fault(text) {
    if (this.faults.push(text) > 20) this.faults.pop();
  }

  async say() {
    const number = ++this.sent;
    const key = `${this.user}-${number}`;
    this.open += 1;
    try {
      this.acks[key] = (await this.send(`${this.user} says ${number}`, key)).offset;
    } catch (error) {
      this.failed[error.code ?? error.message] = (this.failed[error.code ?? error.message] ?? 0) + 1;
    }
    this.open -= 1;
  }

  report() {
    const { user, kind, channel, first, count, sent, faults, acks, failed, attempts, gap, gapAt: gap_at } = this;
    const last = this.last ?? 0;
    const digest = this.digest.copy().digest("hex");
    return { user, kind, channel, first, last, count, digest, sent, faults, acks, failed, attempts, gap, gap_at };
  }
}

class Core extends Member {
  enter(url) {
    const dial = (...args) => {
      this.attempts.push(now());
      return io(...args);
    };
    this.maru = createMaru({ io: dial, url, getToken: () => this.token });
    this.maru.on("event", (event) => this.hear(event));
    this.maru.on("reset", (reset) => this.fault(`reset: ${reset.reason}`));
    this.maru.on("removed", ({ code }) => this.fault(`removed: ${code}`));
    this.maru.on("state", ({ state, error }) => void (state === "signed-out" && this.fault(`out: ${error?.code}`)));
    this.maru.connect();
    return this.maru.join(this.channel);
  }

  send(text, key) {
    return this.maru.send(this.channel, text, { key });
  }
}

class Bare extends Member {
  enter(url) {
    this.socket = io(`${url}/chat`, { transports: ["websocket"], forceNew: true, auth: { token: this.token } });
    this.attempts.push(now());
    this.socket.io.on("reconnect_attempt", () => this.attempts.push(now()));
    this.socket.on("disconnect", (reason) => void (reason === "io server disconnect" && this.fault(reason)));
    this.socket.on("connect_error", (error) => void (error.data && this.fault(error.message)));
    this.socket.on("message:created", (event) => this.hear(event));
    return new Promise((entered) => {
      const join = () =>
        this.socket.emit("channel:join", { channel: this.channel }, (ack) => {
          if (!ack.ok && ack.error.retryable) return void setTimeout(() => this.socket.connected && join(), RETRY_MS);
          if (!ack.ok) return this.fault(`join: ${ack.error.code}`);
          this.last = ack.offset; // what it missed it has missed; from here on it hears everything
          entered();
        });
      this.socket.on("session:ready", join);
    });
  }

  /** Sends without a retry: a team that copied no code of ours. A message that fails was never acked. */
  send(text, key) {
    return new Promise((resolve, reject) => {
      const data = { channel: this.channel, text, key };
      this.socket.timeout(ACKED_MS / 2).emit("message:send", data, (error, ack) => {
        if (error) reject(new Error("unanswered"));
        else if (ack.ok) resolve(ack);
        else reject(Object.assign(new Error(), { code: ack.error.code }));
      });
    });
  }
}

async function reached(holds, ms) {
  for (const end = now() + ms / 1000; now() < end && !holds(); ) await sleep(LOOK_MS);
}

const commands = {
  async enter({ url, kind, members: wanted }) {
    for (const one of wanted) members.push(new (kind === "core" ? Core : Bare)(one, kind));
    for (let begin = 0; begin < members.length; begin += 50) {
      await Promise.all(members.slice(begin, begin + 50).map((member) => member.enter(url)));
    }
  },

  talk({ talkers, every_ms }) {
    talking = true;
    for (const member of members) member.heardAt = now();
    const chosen = new Set(talkers);
    for (const member of members.filter(({ user }) => chosen.has(user))) {
      setTimeout(() => {
        if (talking) member.say();
        member.timer = setInterval(() => member.say(), every_ms);
        if (!talking) clearInterval(member.timer);
      }, Math.random() * every_ms);
    }
  },

  async hush() {
    for (const member of members) {
      clearInterval(member.timer);
      member.hearNothingMore();
    }
    talking = false;
    await reached(() => members.every(({ open }) => open === 0), ACKED_MS);
  },

  async report({ heads, within_ms }) {
    await reached(() => members.every(({ channel, last }) => last >= heads[channel]), within_ms);
    return { members: members.map((member) => member.report()) };
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const order = JSON.parse(line);
  say((await commands[order.do](order)) ?? {});
}
process.exit(0);
