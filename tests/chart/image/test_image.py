"""The image runs under the chart's security context: it starts, serves, writes where it may, and ends in peace.

The tests go in this order: the last one stops the pod.
"""

import json

import pytest

from tests.chart.image.conftest import Pod
from tests.clients.account import Outgoing
from tests.clients.python import PyClient

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHANNEL = "room:image"

IDENTITY = """
import json, os
status = dict(line.split(":", 1) for line in open("/proc/1/status"))
print(json.dumps({
    "ids": [os.getuid(), os.getgid()],
    "server": status["Uid"].split() + status["Gid"].split(),
    "capabilities": [int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")],
    "no_new_privileges": status["NoNewPrivs"].strip(),
    "seccomp": status["Seccomp"].strip(),
}))
"""

WRITES = """
import json, sys
def written(folder):
    try:
        with open(folder + "/maru-was-here", "w") as stream:
            stream.write("x")
    except OSError as error:
        return error.strerror
    return "written"
print(json.dumps({folder: written(folder) for folder in sys.argv[1:]}))
"""


async def test_it_serves(pod: Pod) -> None:
    """A client is admitted by its token, joins, and its message is acked with an offset."""
    async with PyClient(pod.url, pod.token("alice")) as alice:
        await alice.join(CHANNEL)
        await alice.send_all([Outgoing(CHANNEL, "hello", "key-of-a-hello")], 1)
        await alice.heard(CHANNEL, 1)
        assert [event["offset"] for event in alice.received[CHANNEL]] == [1]
        assert alice.faults == []


async def test_it_is_nobody(pod: Pod) -> None:
    """User and group are 10001, with no capability, no way to more rights, and a seccomp filter."""
    found = json.loads(await pod.python(IDENTITY))
    assert found == {
        "ids": [10001, 10001],
        "server": ["10001"] * 8,
        "capabilities": [0] * 5,
        "no_new_privileges": "1",
        "seccomp": "2",
    }


async def test_it_writes_only_where_it_may(pod: Pod) -> None:
    """The root is read-only; `/tmp` and `/data` are not."""
    found = json.loads(await pod.python(WRITES, "/", "/etc", "/opt/maru", "/opt/maru/app", "/home", "/tmp", "/data"))
    refused = dict.fromkeys(("/", "/etc", "/opt/maru", "/opt/maru/app", "/home"), "Read-only file system")
    assert found == refused | {"/tmp": "written", "/data": "written"}


async def test_it_gets_the_charts_memory_limit(pod: Pod) -> None:
    """512 MiB, of which a quarter may wait for slow readers."""
    assert (await pod.inspect())["HostConfig"]["Memory"] == 512 << 20


async def test_helm_test_passes_in_the_image(pod: Pod) -> None:
    """The image has what the script of the test pod needs."""
    (container,) = pod.rendered.one("Pod")["spec"]["containers"]
    script, _ = container["args"]
    assert 'greets: 0{"sid"' in await pod.python(script, "ws://127.0.0.1:8080/socket.io/")


async def test_it_ends_in_peace(pod: Pod) -> None:
    """At SIGTERM, with a client connected, it drains and exits with 0 within the chart's grace period."""
    async with PyClient(pod.url, pod.token("bob")) as bob:
        await bob.join(CHANNEL)
        await pod.stop()
        state = (await pod.inspect())["State"]
    assert (state["Status"], state["ExitCode"], state["OOMKilled"]) == ("exited", 0, False)
    events = [json.loads(line) for line in (await pod.logs()).splitlines() if line.startswith("{")]
    assert [event["event"] for event in events][-1] == "stopped"
    assert {event["level"] for event in events} <= {"info", "warning"}
