"""The URL, the slots and the table of a Redis Cluster."""

import asyncio

import pytest

from server.adapters.redis import exposure, keys, presence_keys, ways
from server.adapters.redis.cluster.addresses import is_cluster, node_url, seeds
from server.adapters.redis.cluster.exchange import ClusterExchange
from server.adapters.redis.cluster.lanes import Lanes
from server.adapters.redis.cluster.nodes import Nodes
from server.adapters.redis.cluster.slots import PARTITION_SLOTS, guarded, slot_of, slot_of_command, together
from server.adapters.redis.cluster.table import Table, owned, parse_view
from server.adapters.redis.connection import RUN
from server.adapters.redis.master import Master
from server.adapters.redis.queue import Queue
from server.domain.channels import ChannelName
from server.domain.identity import UserId

ASKED = "10.0.0.9", 7000

VIEW = """\
aa 10.0.0.1:7001@17001,node-1.example myself,master - 0 0 3 connected 0-5460 [93->-bb] 6000
bb 10.0.0.2:7002@17002 master - 0 0 2 connected 5461-5999 6001-16383
cc :7003@17003 slave aa 0 0 3 connected
dd 10.0.0.4:7004@17004 master,fail - 0 0 1 disconnected
ee :0@0 master,noaddr - 0 0 0 disconnected 17
ff 10.0.0.6:7006@17006 master - 0 0 9 connected 99999
damaged
"""


def test_a_redirection_is_to_a_node_of_the_table() -> None:
    """By its name if it has any; on the host of the node that redirects if no host is told."""
    nodes = Nodes("redis+cluster://a", Master())
    nodes.table = Table([parse_view(VIEW, ASKED)])
    assert nodes.named(0, ("10.0.0.1", 7001)) == ("node-1.example", 7001)
    assert nodes.named(0, ("10.0.0.2", 7002)) == ("10.0.0.2", 7002)
    assert nodes.named(0, ("", 7008)) == nodes.named(0, ("?", 7008)) == ("node-1.example", 7008)


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("redis+cluster://a:1,b:2", [("a", 1), ("b", 2)]),
        ("rediss+cluster://maru:se%2Fcret@a,[::1]:7000/0?ssl_ca_certs=/ca.pem", [("a", 6379), ("::1", 7000)]),
        ("redis+cluster://a/", [("a", 6379)]),
    ],
)
def test_a_url_names_some_nodes(url: str, found: list[tuple[str, int]]) -> None:
    """The default port is that of Redis."""
    assert is_cluster(url)
    assert seeds(url) == found


def test_a_node_has_the_login_and_options_of_the_cluster() -> None:
    """As a URL of a single Redis."""
    url = "rediss+cluster://maru:se%2Fcret@a,b/0?ssl_ca_certs=/ca.pem"
    assert node_url(url, ("::1", 7000)) == "rediss://maru:se%2Fcret@[::1]:7000/0?ssl_ca_certs=/ca.pem"
    assert not is_cluster("redis://a")
    assert not is_cluster("redis+sentinel://a/0/b")


@pytest.mark.parametrize(
    "url",
    [
        "redis+cluster://",
        "redis+cluster://:canary@a/1",
        "redis+cluster://:canary@a:99999",
        "redis+cluster://:can/ary@a",
        "redis+cluster://:canary@a#b",
        "redis+cluster://:can?ary@a",
        "redis+cluster://:canary@a?nonsense=1",
        "redis+cluster://:canary@[a",
    ],
)
def test_a_bad_url_is_refused_without_its_password(url: str) -> None:
    """Database 0 is the only one."""
    with pytest.raises(ValueError, match=r".") as refused:
        Nodes(url, Master())
    assert "canary" not in str(refused.value)


def test_the_guards_of_a_cluster_are_those_of_its_nodes() -> None:
    """Nodes on this machine need none."""
    assert exposure.password("redis+cluster://:secret@a,b") == "secret"
    assert exposure.lacks("redis+cluster://127.0.0.1,10.0.0.1") == ("a password", "TLS")
    assert exposure.lacks("redis+cluster://127.0.0.1,localhost") == ()
    assert ways.database("redis+cluster://a") == 0


def test_all_keys_of_a_script_are_in_a_slot() -> None:
    """Those of a channel with its topic, and those of a partition's presence."""
    channel = ChannelName("room:1")
    slot = PARTITION_SLOTS[keys.PARTITIONS.index(keys.partition(channel))]
    names = [
        *keys.of_channel(channel, "a:")[:-1],
        *presence_keys.roster(channel, "a:"),
        *presence_keys.held(keys.partition(channel), "me", "a:"),
        keys.authors(keys.partition(channel), "a:"),
        keys.sharded_topic(channel, "a:"),
        keys.sharded_pulse(keys.partition(channel), "me", "a:"),
    ]
    assert {slot_of(name) for name in names} == {slot}
    assert keys.sharded_topic_channel(keys.sharded_topic(channel, "a:"), "a:") == channel


@pytest.mark.parametrize(
    ("command", "key"),
    [
        (("GET", "{a}b"), "a"),
        (("GET", b"{a}b"), "a"),
        (("EVALSHA", "hash", 1, "{a}b", "c"), "a"),
        (("XREAD", "COUNT", 1, "STREAMS", "control", "0"), "control"),
        (("XINFO", "STREAM", "control"), "control"),
        (("SADD", keys.follows(UserId("a{}b")), "c"), "maru:2:user:a{}b:follows"),
        (("TIME",), keys.PARTITIONS[0]),
    ],
)
def test_a_command_goes_by_its_key(command: tuple[object, ...], key: str) -> None:
    """Without a key it may go anywhere."""
    assert slot_of_command(command) == slot_of(key)


def test_a_script_of_several_keys_has_a_guard() -> None:
    """In their slot; others are sent as they are."""
    assert guarded(("EVALSHA", "hash", 2, "x{a}b", "x{a}c", RUN, "d")) == (
        *("EVALSHA", "hash", 3, "x{a}b", "x{a}c", "{a}guard"),
        *(RUN, "d"),
    )
    for command in (("EVALSHA", "hash", 1, "{a}b", "c"), ("GET", "a")):
        assert guarded(command) == command
    assert together(("{a}1", "{b}1", "{a}2")) == [("{a}1", "{a}2"), ("{b}1",)]


def test_a_view_is_read() -> None:
    """A node without an address of its own is the one that was asked; what can't be used is passed over."""
    view = parse_view(VIEW, ASKED)
    assert [(claim.epoch, claim.address) for claim in view.claims] == [
        (3, ("node-1.example", 7001)),
        (2, ("10.0.0.2", 7002)),
    ]
    assert view.claims[0].ranges == ((0, 5460), (6000, 6000))
    assert view.nodes == (("node-1.example", 7001), ("10.0.0.2", 7002), ("10.0.0.9", 7003))


def test_the_newest_claim_to_a_slot_counts() -> None:
    """Whatever an old master says that was cut off."""
    old = parse_view("aa 10.0.0.1:1@2 myself,master - 0 0 1 connected 0-16383", ASKED)
    new = parse_view("bb 10.0.0.2:1@2 myself,master - 0 0 2 connected 5-16383", ASKED)
    for views in ((old, new), (new, old)):
        table = Table(views)
        assert table.owners[4:6] == [("10.0.0.1", 1), ("10.0.0.2", 1)]
        assert owned(table, (5, 4, 6)) == {("10.0.0.2", 1): 0, ("10.0.0.1", 1): 1}
    assert Table().owners[0] is None


class Still(Queue[object]):  # type: ignore[type-var]  # nothing is put in
    """A queue that sends nothing."""

    async def _send(self, batch: object, deadline: float) -> None:
        raise AssertionError


async def test_commands_of_a_slot_stay_in_a_queue_until_they_are_answered() -> None:
    """Also if the slot has another owner meanwhile."""
    nodes = Nodes("redis+cluster://a:1", Master())
    lanes: Lanes[Still] = Lanes(nodes, lambda patient: Still(ClusterExchange(nodes, patient=patient)))
    nodes.note_moved(5, ("a", 1))
    first = lanes.enter(5)
    queue = first.queue
    nodes.note_moved(5, ("b", 1))
    assert lanes.enter(5).queue is queue
    first.leave()
    assert lanes.enter(5).queue is queue
    first.leave()
    first.leave()
    assert lanes.enter(5).queue is not queue
    nodes.note_moving(6)
    moving = lanes.enter(6).queue
    assert nodes.moves(6)
    nodes.note_moved(6, ("b", 1))
    assert not nodes.moves(6)
    lanes.enter(6).leave()
    assert lanes.enter(6).queue is moving
    await lanes.aclose()
    await asyncio.sleep(0)
