import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

const server = "http://localhost:8080"; // `make run`

export default defineConfig({
  plugins: [react()],
  base: "./",
  resolve: { dedupe: ["react"] }, // @maru/client is a link to its own folder, which has a React of its own
  server: { proxy: { "/dev": server, "/socket.io": { target: server, ws: true } } },
});
