"""A real Redis Cluster of six nodes on free ports: three masters with a replica each. Nodes are killed, frozen and
promoted, and slots are moved, by tests."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.crc import key_slot

from tests.harness.certificates import Certificate
from tests.harness.process import free_port
from tests.harness.redis import RedisProcess
from tests.harness.waiting import polled

MASTERS = 3
SLOTS = 16_384
READY_S = 20.0
NODE_TIMEOUT_MS = 2_000
"""After which the others take a silent master for dead."""

MOVED_AT_ONCE = 100
"""Keys in a step of a moved slot."""


class Node(RedisProcess):
    """A node, with its port for other nodes and, with a `certificate`, that for TLS, which other nodes use, too."""

    def __init__(self, folder: Path, options: Sequence[str], certificate: Certificate | None = None) -> None:
        self.bus_port, self.tls_port = free_port(), free_port()
        ports = ["--cluster-port", str(self.bus_port)]
        if certificate is not None:
            ports += ["--tls-port", str(self.tls_port), "--tls-cluster", "yes", "--tls-auth-clients", "no"]
            ports += ["--tls-cert-file", str(certificate.certificate), "--tls-key-file", str(certificate.key)]
            ports += ["--tls-ca-cert-file", str(certificate.ca)]
        super().__init__(folder, (*options, *ports))


class ClusterProcess:
    """Six nodes; the first three begin as masters. Use as an async context manager. `replicas` may be False: three
    masters alone, which start sooner. `options` are command-line options of every node. With a `certificate` all serve
    by TLS, too."""

    def __init__(
        self,
        folder: Path,
        options: Sequence[str] = (),
        *,
        replicas: bool = True,
        password: str | None = None,
        node_timeout_ms: int = NODE_TIMEOUT_MS,
        certificate: Certificate | None = None,
    ) -> None:
        self.password = password
        own = (
            *("--cluster-enabled", "yes", "--cluster-node-timeout", str(node_timeout_ms)),
            *("--cluster-require-full-coverage", "no", "--cluster-allow-replica-migration", "no"),
            *("--repl-diskless-sync-delay", "0"),
        )
        number_of = MASTERS * (2 if replicas else 1)
        self.nodes = [Node(folder / f"node-{number}", (*own, *options), certificate) for number in range(number_of)]

    @property
    def url(self) -> str:
        """The address for Maru."""
        login = "" if self.password is None else f":{self.password}@"
        return f"redis+cluster://{login}{','.join(f'127.0.0.1:{node.port}' for node in self.nodes)}"

    @property
    def secure_url(self) -> str:
        """The address for Maru by TLS."""
        return f"rediss+cluster://{','.join(f'127.0.0.1:{node.tls_port}' for node in self.nodes)}"

    @property
    def node_urls(self) -> Sequence[str]:
        """The addresses of the nodes."""
        return [node.url for node in self.nodes]

    async def __aenter__(self) -> Self:
        try:
            await asyncio.gather(*(node.start() for node in self.nodes))
            await self._join()
            await self._protect()
        except BaseException:
            self._stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop()

    async def start(self) -> None:
        """Start all nodes again, on their ports and data; return once the cluster serves."""
        await asyncio.gather(*(node.start() for node in self.nodes))
        await polled(self.whole, READY_S, lambda: "the cluster serves")

    def _stop(self) -> None:
        for node in self.nodes:
            with contextlib.suppress(AssertionError, ProcessLookupError):
                node.send_signal(signal.SIGCONT)
            node.kill()

    async def _join(self) -> None:
        """Give the masters their slots, let all nodes meet, and give each master its replica."""
        first, masters = self.nodes[0], self.nodes[:MASTERS]
        for number, node in enumerate(masters):
            await node.command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            begin, end = number * SLOTS // MASTERS, (number + 1) * SLOTS // MASTERS - 1
            await node.command("CLUSTER", "ADDSLOTSRANGE", begin, end)
        for node in self.nodes[1:]:
            await first.command("CLUSTER", "MEET", "127.0.0.1", node.port, node.bus_port)
        await polled(self._all_met, READY_S, lambda: "the nodes know each other")
        for number, node in enumerate(self.nodes[MASTERS:]):
            await node.command("CLUSTER", "REPLICATE", await self.id_of(masters[number]))
        await polled(self.whole, READY_S, lambda: "every master has its replica, and the cluster serves")

    async def _protect(self) -> None:
        if self.password is None:
            return
        for node in self.nodes:
            await node.command("CONFIG", "SET", "masterauth", self.password)
            await node.command("CONFIG", "SET", "requirepass", self.password)
            node.password = self.password

    async def _all_met(self) -> bool:
        views = await asyncio.gather(*(node.command("CLUSTER", "NODES") for node in self.nodes))
        return all(b"handshake" not in view and view.count(b"connected") == len(self.nodes) for view in views)

    async def whole(self) -> bool:
        """Whether every node says that the cluster serves, and every master has the replicas that it can have."""
        for node in self.nodes:
            if b"cluster_state:ok" not in await node.command("CLUSTER", "INFO"):
                return False
            if (await node.command("ROLE"))[0] != b"master" and (await node.command("ROLE"))[3] != b"connected":
                return False
        views = await asyncio.gather(*(node.command("CLUSTER", "NODES") for node in self.nodes))
        wanted = len(self.nodes) - MASTERS
        return all(len([line for line in view.splitlines() if b"slave" in line]) == wanted for view in views)

    async def id_of(self, node: Node) -> str:
        """The node's name in the cluster."""
        return str((await node.command("CLUSTER", "MYID")).decode())

    async def owner(self, key: str) -> Node:
        """The master that has the slot of a key, as the first node that runs and serves says."""
        slot = key_slot(key.encode())
        for node in self.running():
            for begin, end, master, *_ in await node.command("CLUSTER", "SLOTS"):
                if begin <= slot <= end:
                    return next(each for each in self.nodes if each.port == master[1])
        raise AssertionError("the slot has no owner")

    def running(self) -> Iterable[Node]:
        """The nodes that were not killed."""
        return [node for node in self.nodes if node.runs]

    async def replica_of(self, master: Node) -> Node:
        """The replica of a master."""
        for node in self.running():
            role = await node.command("ROLE")
            if role[0] == b"slave" and role[2] == master.port:
                return node
        raise AssertionError("the master has no replica")

    async def fail_over(self, master: Node) -> Node:
        """Let the master's replica take its place while both live; return the new master."""
        replica = await self.replica_of(master)
        await replica.command("CLUSTER", "FAILOVER")
        await self.until_master(replica)
        return replica

    async def until_master(self, node: Node) -> None:
        """Wait until a node is a master, and all others that run know it."""

        async def holds() -> bool:
            name = (await self.id_of(node)).encode()
            for each in self.running():
                view = await each.command("CLUSTER", "NODES")
                line = next(line for line in view.splitlines() if line.startswith(name))
                if b"master" not in line.split(b" ")[2] or b"-" not in line.split(b" ", 8)[-1]:
                    return False
            return True

        await polled(holds, READY_S, lambda: "the replica was promoted")

    async def begin_move(self, key: str, to: Node) -> None:
        """Begin to move the slot of a key: it is migrating and importing, and no key has moved."""
        slot, source = key_slot(key.encode()), await self.owner(key)
        await to.command("CLUSTER", "SETSLOT", slot, "IMPORTING", await self.id_of(source))
        await source.command("CLUSTER", "SETSLOT", slot, "MIGRATING", await self.id_of(to))

    async def move_keys(self, key: str, to: Node, most: int | None = None) -> int:
        """Move keys of a slot that is being moved, all or the first ones; return how many."""
        slot, source, moved = key_slot(key.encode()), await self.owner(key), 0
        auth = () if self.password is None else ("AUTH", self.password)
        step = min(most or MOVED_AT_ONCE, MOVED_AT_ONCE)
        while found := await source.command("CLUSTER", "GETKEYSINSLOT", slot, step):
            await source.command("MIGRATE", "127.0.0.1", to.port, "", 0, 5_000, *auth, "KEYS", *found)
            moved += len(found)
            if most is not None and moved >= most:
                break
        return moved

    async def end_move(self, key: str, to: Node) -> None:
        """Give the slot of a key to the node, and tell every master."""
        slot, name = key_slot(key.encode()), await self.id_of(to)
        source = await self.owner(key)
        for node in (to, source):
            await node.command("CLUSTER", "SETSLOT", slot, "NODE", name)

    async def move(self, key: str, to: Node) -> None:
        """Move the slot of a key, as `redis-cli --cluster reshard` does."""
        await self.begin_move(key, to)
        await self.move_keys(key, to)
        await self.end_move(key, to)

    @asynccontextmanager
    async def client(self) -> AsyncIterator[RedisCluster]:
        """Make a client of the test's own."""
        nodes = [ClusterNode("127.0.0.1", node.port) for node in self.nodes]
        client = RedisCluster(startup_nodes=nodes, password=self.password, protocol=2)
        try:
            yield client
        finally:
            await client.aclose()

    async def command(self, *words: str | int | bytes) -> Any:
        """Run a command where its key is: the first word behind the name. A command without a key goes to every master,
        and the answers are joined, if they are lists."""
        if words[0] == "DEL" and len(words) > 2:  # keys of several slots
            return sum([await self.command("DEL", key) for key in words[1:]])
        if len(words) > 1 and str(words[0]).upper() not in KEYLESS:
            return await (await self.owner(_text(words[1]))).command(*words)
        answers = [await node.command(*words) for node in await self.masters()]
        return [each for answer in answers for each in answer] if isinstance(answers[0], list) else answers[0]

    async def publish(self, topic: str, payload: bytes) -> None:
        """Publish on a topic of the replicas."""
        await (await self.owner(topic)).command("SPUBLISH", topic, payload)

    async def masters(self) -> list[Node]:
        """The masters that run."""
        return [node for node in self.running() if (await node.command("ROLE"))[0] == b"master"]


KEYLESS = frozenset(("KEYS", "FLUSHALL", "CLIENT", "CONFIG", "PUBLISH", "INFO", "SCRIPT"))


def _text(word: str | int | bytes) -> str:
    return word.decode() if isinstance(word, bytes) else str(word)
