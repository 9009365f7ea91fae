// socket.io-client as a page uses it that copied no code of ours, with the library's own options. Driven by JSON lines.
//
// In:  {do: "open", name, url, options} · {do: "join", name, channel, since} · {do: "send", name, payloads} · {do: "leave", name}
//      · {do: "enter", name}: leave and enter the same socket · end of input: leave all.
// Out: {name, is: "ready" | "refused" | "gone" | "event" | "ack", ...}; `engine` is the id of the WebSocket.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const here = createRequire(new URL("../../clients/js-demo/package.json", import.meta.url));
const { io } = here("socket.io-client");
const say = (line) => process.stdout.write(JSON.stringify(line) + "\n");
const sockets = {};

const commands = {
  open({ name, url, options }) {
    const socket = (sockets[name] = io(url, { transports: ["websocket"], ...options }));
    const engine = () => socket.io.engine?.id;
    socket.on("session:ready", ({ session }) => say({ name, is: "ready", session, engine: engine() }));
    socket.on("connect_error", ({ message, data }) => say({ name, is: "refused", message, data, engine: engine() }));
    socket.on("disconnect", (reason) => say({ name, is: "gone", reason }));
    socket.onAny((event, body) => say({ name, is: "event", event, body }));
  },
  join({ name, channel, since }) {
    sockets[name].emit("channel:join", { channel, since }, (...answer) => say({ name, is: "ack", of: channel, answer }));
  },
  send({ name, payloads }) {
    for (const payload of payloads) {
      // With `retries` the library calls back with an error, or null, before the answer.
      sockets[name].emit("message:send", payload, (...answer) => say({ name, is: "ack", of: payload.key, answer }));
    }
  },
  enter({ name }) {
    sockets[name].disconnect().connect();
  },
  leave({ name }) {
    sockets[name].disconnect();
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  commands[command.do](command);
}
Object.values(sockets).forEach((socket) => socket.disconnect());
