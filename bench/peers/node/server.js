// Socket.IO on Node, as its documentation shows it:  node server.js PORT PADDING_BYTES [REDIS_URL]
// WebSocket only, Maru's heartbeat. With a Redis URL: several replicas through the Redis Streams adapter.
import { createServer } from "node:http";
import { createAdapter } from "@socket.io/redis-streams-adapter";
import { createClient } from "redis";
import { Server } from "socket.io";

const [port, envelope, redisUrl] = process.argv.slice(2);
const http = createServer();
const io = new Server(http, { transports: ["websocket"], pingInterval: 10_000, pingTimeout: 10_000 });
if (redisUrl) {
  const client = createClient({ url: redisUrl });
  await client.connect();
  io.adapter(createAdapter(client));
}

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
http.listen({ port: Number(port), host: "127.0.0.1", backlog: 4096 });
