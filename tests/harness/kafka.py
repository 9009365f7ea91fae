"""A real Kafka broker in a process of its own: started, killed, frozen and restarted by tests.

`make kafka` brings its jars.
"""

import asyncio
import base64
import contextlib
import subprocess
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from confluent_kafka import OFFSET_END, Consumer, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # its own way to export

from tests.harness.certificates import Certificate
from tests.harness.process import Process, free_port
from tests.harness.waiting import polled

JARS = Path("build/kafka")

HINTS = "maru.hints"
HINTS_PARTITIONS = 64

LOGIN = "maru", "secret"
"""User and password of the way by TLS."""

START_S = 60.0
"""After a kill -9, the controller waits for the old session to end."""

ANSWER_S = 20.0
"""For a request of a test to the broker, on a machine with much other work."""

_JVM = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")

_PROPERTIES = """\
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://127.0.0.1:{port},PROXIED://127.0.0.1:{behind},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},PROXIED://127.0.0.1:{proxy}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
controller.quorum.bootstrap.servers=127.0.0.1:{controller}
log.dirs={folder}/data
num.network.threads=2
num.io.threads=2
background.threads=2
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=2
group.initial.rebalance.delay.ms=0
log.cleaner.dedupe.buffer.size=16777216
auto.create.topics.enable=false
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
"""

_SECURE = """\
listeners=PLAINTEXT://127.0.0.1:{port},SECURE://127.0.0.1:{secure},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},SECURE://127.0.0.1:{secure}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SECURE:SASL_SSL,CONTROLLER:PLAINTEXT
listener.name.secure.ssl.keystore.type=PEM
listener.name.secure.ssl.keystore.location={chain}
listener.name.secure.sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.secure.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
"""
"""In place of the listeners above."""


class KafkaProcess(Process["subprocess.Popen[bytes]"]):
    """A broker that is its own controller. Use as an async context manager; `servers` is for clients.

    Clients that come by a proxy, which forwards `proxy` to `behind`, are told its address, and not the broker's. With
    a `certificate` there is, in place of that, a way by TLS with a login: `secure`, as LOGIN.
    """

    def __init__(self, folder: Path, certificate: Certificate | None = None) -> None:
        super().__init__(folder)
        self._certificate = certificate
        self._controller, self.behind = free_port(), free_port()
        self.proxy = self.behind
        self.admin = AdminClient({"bootstrap.servers": self.servers, "log_level": 0})

    @property
    def servers(self) -> str:
        """The address for clients."""
        return f"127.0.0.1:{self.port}"

    @property
    def secure(self) -> str:
        """The address by TLS."""
        return f"127.0.0.1:{self.behind}"

    async def __aexit__(self, *_: object) -> None:
        self.kill()

    async def start(self) -> None:
        """Start it (again, on the same port and data), and wait until it serves."""
        if not (self.folder / "server.properties").exists():
            await asyncio.to_thread(self._format)
        self.launch()
        await polled(self._serves, START_S, lambda: f"the broker serves; see {self.folder}/kafka.log", every_s=0.1)

    def launch(self) -> None:
        """Start it, and do not wait."""
        with (self.folder / "kafka.log").open("ab") as log:
            command = _java("-Xmx256m", "kafka.Kafka", str(self.folder / "server.properties"))
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def kill(self) -> None:
        """`kill -9`, and wait until it is gone."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            self._process.wait(timeout=START_S)
            self._process = None

    async def create(self, topic: str, partitions: int = 1, config: Mapping[str, str] | None = None) -> None:
        """Make a topic."""
        made = self.admin.create_topics([NewTopic(topic, partitions, 1, config=dict(config or {}))])
        await asyncio.wrap_future(made[topic])
        await polled(lambda: self._leads(topic, partitions), ANSWER_S, lambda: f"{topic} has its partitions")

    async def create_hints(self) -> None:
        """Make the topic of hints."""
        await self.create(HINTS, HINTS_PARTITIONS, {"retention.ms": "600000"})

    async def delete(self, topic: str) -> None:
        """Remove a topic, with its records."""
        await asyncio.wrap_future(self.admin.delete_topics([topic])[topic])

    async def forget(self, topic: str, partitions: int) -> None:
        """Drop all records of a topic, as its retention would."""
        ends = [TopicPartition(topic, number, OFFSET_END) for number in range(partitions)]
        for done in self.admin.delete_records(ends).values():
            await asyncio.wrap_future(done)

    async def records(self, topic: str, count: int, deadline_s: float = ANSWER_S) -> list[Message]:
        """Return the first records of a topic, of each partition in its order."""
        found: list[Message] = []
        with self.consumer(topic) as consumer:

            async def enough() -> bool:
                found.extend(await asyncio.to_thread(consumer.consume, 10_000, 0.1))
                return len(found) >= count

            await polled(enough, deadline_s, lambda: f"{topic} has {len(found)} records of {count}")
        return found

    @contextlib.contextmanager
    def consumer(self, topic: str) -> Iterator[Consumer]:
        """Read a topic from its beginning."""
        consumer = Consumer(
            {"bootstrap.servers": self.servers, "group.id": "test", "auto.offset.reset": "earliest", "log_level": 0}
        )
        try:
            known = consumer.list_topics(topic, ANSWER_S).topics[topic].partitions
            consumer.assign([TopicPartition(topic, number, 0) for number in known])
            yield consumer
        finally:
            consumer.close()

    async def _serves(self) -> bool:
        try:
            await asyncio.to_thread(self.admin.list_topics, timeout=1.0)
        except KafkaException:
            return False
        return True

    async def _leads(self, topic: str, partitions: int) -> bool:
        known = (await asyncio.to_thread(self.admin.list_topics, timeout=ANSWER_S)).topics.get(topic)
        return known is not None and [each.leader for each in known.partitions.values()] == [1] * partitions

    def _format(self) -> None:
        """Prepare the folder of its data."""
        assert JARS.is_dir(), "the broker's jars are missing: make kafka"
        self.folder.mkdir(parents=True, exist_ok=True)
        properties, cluster = self.folder / "server.properties", _cluster_id()
        ports = {"port": self.port, "controller": self._controller}
        text = _PROPERTIES.format(**ports, behind=self.behind, proxy=self.proxy, folder=self.folder)
        words = ["format", "--standalone", "-t", cluster, "-c", str(properties)]
        if self._certificate is not None:
            text += _SECURE.format(
                **ports, secure=self.behind, chain=self._certificate.chain
            )  # the last of each counts
            words += ["--add-scram", "SCRAM-SHA-512=[name={},password={}]".format(*LOGIN)]
        properties.write_text(text)
        done = subprocess.run(_java("-Xmx128m", "kafka.tools.StorageTool", *words), capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()


def _cluster_id() -> str:
    """Return an id that does not begin with a hyphen, which the tool would take for an option."""
    first, *others = uuid.uuid4().bytes
    return base64.urlsafe_b64encode(bytes([first & 0x7F, *others])).decode().rstrip("=")


def _java(memory: str, *words: str) -> list[str]:
    return ["java", memory, *_JVM, "-cp", f"{JARS.absolute()}/*", *words]


@asynccontextmanager
async def broker(folder: Path) -> AsyncIterator[KafkaProcess]:
    """Run a broker, with a topic for hints."""
    async with KafkaProcess(folder) as process:
        await process.create_hints()
        yield process
