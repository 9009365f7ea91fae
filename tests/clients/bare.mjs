// A bare socket.io-client, driven by JSON lines: what the server sees of a team that copied no code of ours.
//
// In:  {do: "connect", url, token} · {do: "emit", tag, event, data} · {do: "burst", event, payloads}: all in one go,
//      their tags are their indexes · end of input: leave.
// Out: {is: "ready"} · {is: "event", name, body} · {is: "ack", tag, ack} · {is: "gone", reason}
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const here = createRequire(new URL("../../clients/js-demo/package.json", import.meta.url));
const { io } = here("socket.io-client");
const say = (line) => process.stdout.write(JSON.stringify(line) + "\n");
let socket;

const commands = {
  connect({ url, token }) {
    socket = io(`${url}/chat`, { transports: ["websocket"], auth: { token } });
    socket.on("session:ready", () => say({ is: "ready" }));
    socket.on("connect_error", (error) => say({ is: "gone", reason: error.message }));
    socket.on("disconnect", (reason) => say({ is: "gone", reason }));
    socket.onAny((name, body) => say({ is: "event", name, body }));
  },
  emit({ tag, event, data }) {
    socket.emit(event, data, (ack) => say({ is: "ack", tag, ack }));
  },
  burst({ event, payloads }) {
    payloads.forEach((data, tag) => commands.emit({ tag, event, data }));
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  commands[command.do](command);
}
socket?.disconnect();
