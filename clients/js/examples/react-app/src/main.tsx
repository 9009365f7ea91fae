import { createMaru } from "@maru/client";
import { MaruProvider } from "@maru/client/react";
import { localStore } from "@maru/client/storage";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { io } from "socket.io-client";

import { App } from "./App";

const query = new URLSearchParams(location.search);
const user = query.get("user") ?? "guest";
const server = query.get("server") ?? ""; // the page's own origin; Vite's proxy leads to the server

/** Asks the development server. In production this is your backend, which knows who asks. */
async function getToken(): Promise<string> {
  const answer = await fetch(`${server}/dev/token?user=${encodeURIComponent(user)}`);
  return ((await answer.json()) as { token: string }).token;
}

const client = createMaru({ io, url: server, getToken, storage: localStore(user) });
addEventListener("online", () => client.retryNow());

createRoot(document.getElementById("root")!).render(
  <StrictMode>
    <MaruProvider client={client}>
      <App user={user} />
    </MaruProvider>
  </StrictMode>,
);
