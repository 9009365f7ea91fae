// Socket.IO on Bun with its own engine, as the engine's documentation shows it:  bun server.js PORT PADDING_BYTES
// Maru's heartbeat. Long polling can't be turned off in this engine; nobody here asks for it.
import { Server as Engine } from "@socket.io/bun-engine";
import { Server } from "socket.io";

const [port, envelope] = process.argv.slice(2);
const io = new Server();
const engine = new Engine({ path: "/socket.io/", pingInterval: 10_000, pingTimeout: 10_000 });
io.bind(engine);

const pad = "p".repeat(Number(envelope)); // an event weighs what Maru's does
const chat = io.of("/chat");
chat.on("connection", (socket) => {
  socket.on("channel:join", async ({ channel }, ack) => {
    await socket.join(channel);
    ack({ ok: true });
  });
  socket.on("channel:leave", async ({ channel }, ack) => {
    await socket.leave(channel);
    ack({ ok: true });
  });
  socket.on("message:send", (data, ack) => {
    chat.to(data.channel).emit("message:created", { channel: data.channel, author: socket.id, message: data, pad });
    ack({ ok: true });
  });
});
Bun.serve({ port: Number(port), hostname: "127.0.0.1", ...engine.handler() });
