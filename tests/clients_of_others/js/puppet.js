// A socket.io-client that does what it is told, in Node and in a page. ../README.md has the commands and the lines.

export function puppet(io, say) {
  const sockets = new Map();

  const open = ({ id, url, namespaces, auth, transports }) => {
    const state = { auth, last: undefined, all: [] };
    sockets.set(id, state);
    const options = () => ({
      auth: (give) => give(state.auth),
      forceNew: namespaces.length === 1, // without it, namespaces of one server share a WebSocket
      reconnectionDelay: 200,
      reconnectionDelayMax: 500,
      ...(transports && { transports }),
    });
    state.all = namespaces.map((namespace) => io(url + namespace, options()));
    const socket = (state.last = state.all.at(-1));
    socket.on("connect", () => say({ id, is: "connect" }));
    socket.on("disconnect", (reason) => say({ id, is: "disconnect", reason }));
    socket.on("connect_error", (error) =>
      say({
        id,
        is: "connect_error",
        message: error.message,
        data: error.data ?? null,
        detail: String(error.context?.responseText ?? error.description ?? ""),
      }),
    );
    socket.onAny((name, body) => say({ id, is: "event", name, body }));
  };

  const commands = {
    open,
    auth: ({ id, auth }) => void (sockets.get(id).auth = auth),
    connect: ({ id }) => sockets.get(id).last.connect(),
    emit({ id, name, args, tag }) {
      const answer = (ack) => say({ id, is: "ack", tag, ack });
      sockets.get(id).last.emit(name, ...args, ...(tag === null ? [] : [answer]));
    },
    close: ({ id }) => sockets.get(id).all.forEach((socket) => socket.disconnect()),
  };
  return (command) => commands[command.do](command);
}
