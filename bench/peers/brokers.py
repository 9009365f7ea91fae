"""The brokers in Go: NATS, NATS with JetStream, and Centrifugo. Go sees one core, as each is pinned to one."""

import json
import socket
from pathlib import Path

from bench.peers.base import Peer, Setting, started
from bench.peers.programs import fill, found
from bench.processes import NotAvailable, Process, free_port

STREAM_S = 5.0
STREAM = {
    "name": "ROOMS",
    "subjects": ["room.>"],
    "storage": "file",
    "max_msgs_per_subject": 10_000,
    "num_replicas": 1,
    "discard": "old",
    "retention": "limits",
}
"""All rooms in one stream on disk, of which as much is kept as Maru keeps of a channel by default."""

HISTORY = {"history_size": 1_000, "history_ttl": "3600s", "force_recovery": True}
"""With offsets and recovery Centrifugo promises the most like Maru."""

UNHEARD_S = 600
"""Between pings of Centrifugo: it cuts off a client that does not answer, and the load does not look for pings in long
reads. So it runs without a heartbeat, and Maru with its own."""


def nats(name: str, setting: Setting) -> Peer:
    """Its WebSocket side, without a log."""
    return _nats(name, "nats", setting, free_port())


def jetstream(name: str, setting: Setting, sync: str = "") -> Peer:
    """With a stream in files. `sync` is when they are on disk: `always` is before the ack, empty is each 2 minutes."""
    folder, core_port = setting.folder / f"jetstream-{free_port()}", free_port()
    folder.mkdir()
    interval = f"sync_interval: {sync}" if sync else ""
    peer = _nats(name, "jetstream", setting, core_port, f'jetstream {{ store_dir: "{folder}"\n{interval} }}')
    try:
        _create_stream(core_port)
    except BaseException:
        peer.stop()
        raise
    return peer


def _nats(name: str, protocol: str, setting: Setting, core_port: int, more: str = "") -> Peer:
    program, port = found("nats-server"), free_port()
    conf = fill("nats.conf", setting.folder / f"nats-{port}.conf", port=port, core_port=core_port)
    with conf.open("a") as file:
        file.write(more)
    return started(Peer(name, protocol, (port,), [Process([program, "-c", str(conf)], setting.cores.server)]))


def _create_stream(core_port: int) -> None:
    """Ask for the stream on the server's plain port. Raises `NotAvailable` with its answer."""
    body = json.dumps(STREAM)
    request = f"CONNECT {{}}\r\nSUB made 1\r\nPUB $JS.API.STREAM.CREATE.ROOMS made {len(body)}\r\n{body}\r\n"
    said = b""
    try:
        with socket.create_connection(("127.0.0.1", core_port), STREAM_S) as client:
            client.sendall(request.encode())
            while b"stream_create_response" not in said:
                more = client.recv(4_096)
                said += more
                if not more:
                    break
    except OSError as error:
        raise NotAvailable(f"JetStream made no stream: {error}") from error
    if b'"did_create":true' not in said:
        raise NotAvailable(f"JetStream made no stream: {said[-300:]!r}")


def centrifugo(name: str, setting: Setting, *, history: bool = False) -> Peer:
    """Its JSON protocol; the engine in memory, or in Redis if the harness has started one."""
    program, port = found("centrifugo"), free_port()
    conf = setting.folder / f"centrifugo-{port}.json"
    conf.write_text(json.dumps(centrifugo_settings(port, setting, history=history)))
    return _centrifugo(name, program, port, conf, setting)


def _centrifugo(name: str, program: str, port: int, conf: Path, setting: Setting) -> Peer:
    return started(Peer(name, "centrifugo", (port,), [Process([program, "-c", str(conf)], setting.cores.server)]))


def centrifugo_settings(port: int, setting: Setting, *, history: bool) -> dict[str, object]:
    """Return a configuration that checks tokens, and lets each client subscribe and publish in `room:`."""
    room: dict[str, object] = {
        "name": "room",
        "allow_subscribe_for_client": True,
        "allow_publish_for_client": True,
        "allow_history_for_client": True,
    }
    engine: dict[str, object] = {"type": "memory"}
    if setting.redis_url is not None:
        engine = {"type": "redis", "redis": {"address": [setting.redis_url]}}
    return {
        "http_server": {"address": "127.0.0.1", "port": port},
        "log": {"level": "error"},
        "client": {
            "allowed_origins": ["*"],
            "token": {"hmac_secret_key": setting.secret},
            "ping_interval": f"{UNHEARD_S}s",
            "pong_timeout": "30s",
        },
        "channel": {"namespaces": [room | HISTORY if history else room]},
        "engine": engine,
    }
