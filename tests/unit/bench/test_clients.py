"""The clients' sockets, against a server that a test plays."""

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from bench.client_protocols import PROTOCOLS, Line, Plan
from bench.clients import Clients

WAIT_S = 10.0


@pytest.fixture
def server() -> Iterator[socket.socket]:
    """Listen."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(WAIT_S)
        yield listener


@pytest.mark.parametrize("cut", range(1, 6))
def test_a_mark_that_a_read_cuts_is_counted_once(server: socket.socket, cut: int) -> None:
    """Wherever it is cut, and whatever stands around it."""
    clients, marks = Clients(PROTOCOLS["jetstream"]), list[int]()
    clients.enter([Plan(server.getsockname()[1], ())], 1)
    conversation, _ = server.accept()
    clients.count(b'"seq":')
    clients.taken = lambda _descriptor, found, _size: marks.append(found)
    whole = b'{"stream":"ROOMS", "seq":1}'
    at = whole.index(b'"seq":') + cut
    with conversation:
        for part in (whole[:at], whole[at:], whole + whole):
            conversation.sendall(part)
            before = clients.received_bytes
            while clients.received_bytes < before + len(part):
                clients.pump(WAIT_S)
    clients.close()
    assert (marks[:2], sum(marks)) == ([0, 1], 3)


def test_clients_stand_in_the_order_of_their_plans(server: socket.socket) -> None:
    """Also if the second is let in before the first."""
    port = server.getsockname()[1]
    plans = [Plan(port, (Line(b"first", b"in"),)), Plan(port, (Line(b"second", b"go on"), Line(b"done", b"in")))]

    def serve() -> list[socket.socket]:
        found = {}
        for _ in plans:
            client, _ = server.accept()
            found[client.recv(100)] = client
        first, second = found[b"first"], found[b"second"]
        second.sendall(b"go on")
        assert second.recv(100) == b"done"
        second.sendall(b"in")
        first.sendall(b"in")
        return [first, second]

    clients = Clients(PROTOCOLS["maru"])
    with ThreadPoolExecutor(1) as threads:
        served = threads.submit(serve)
        entered, took = clients.enter(plans, 2)
        there = served.result(WAIT_S)
    mine = [socket.socket(fileno=descriptor) for descriptor in entered]
    assert [sock.getsockname() for sock in mine] == [sock.getpeername() for sock in there]
    assert len(took) == 2
    for sock in mine:
        sock.detach()
    for sock in there:
        sock.close()
    clients.close()
