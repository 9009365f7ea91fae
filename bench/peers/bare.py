"""The loop of `bare.c` in Python, for machines without a C compiler: bare.py PORT FRAME_BYTES."""

import select
import socket
import sys


def main() -> None:
    """Serve until killed."""
    port, size = int(sys.argv[1]), int(sys.argv[2])
    frame = b"^" + b"m" * (size - 1)
    listener = socket.create_server(("127.0.0.1", port), backlog=4_096)
    poll = select.epoll()
    poll.register(listener, select.EPOLLIN)
    known: dict[int, socket.socket] = {}
    members: dict[int, socket.socket] = {}
    while True:
        for descriptor, _ in poll.poll():
            if descriptor == listener.fileno():
                client, _ = listener.accept()
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                known[client.fileno()] = client
                poll.register(client, select.EPOLLIN)
            elif role := known[descriptor].recv(4_096):
                take(role, known[descriptor], members, frame)
            else:
                poll.unregister(descriptor)
                members.pop(descriptor, None)
                known.pop(descriptor).close()


def take(said: bytes, client: socket.socket, members: dict[int, socket.socket], frame: bytes) -> None:
    """Take a client's role, or a message for each byte."""
    if said in {b"M", b"S"}:
        if said == b"M":
            members[client.fileno()] = client
        client.send(b"+")
        return
    for _ in said:
        for member in members.values():
            member.sendall(frame)


if __name__ == "__main__":
    main()
