"""Who may do what: grants, as tables."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from server.domain.channels import ChannelName
from server.domain.errors import PermissionDenied
from server.domain.identity import (
    Action,
    Author,
    CompiledGrants,
    Grants,
    UserId,
    allows,
    authorize,
    authorize_change,
)
from tests.doubles.samples import ROOM, identity

JOIN, SEND, MODERATE = Action.JOIN, Action.SEND, Action.MODERATE
GRANTS = {
    "room:*": ["join", "send"],
    "room:quiet*": ["join"],
    "room:quiet:2": ["send"],
    "room:closed": [],
    "announce": ["join"],
    "ops:*": ["join", "send", "moderate"],
}


@pytest.mark.parametrize(
    ("channel", "allowed"),
    [
        ("room:1", {JOIN, SEND}),
        ("room:1:2", {JOIN, SEND}),
        ("room:quiet", {JOIN}),
        ("room:quieter", {JOIN}),
        ("room:quiet:1", {JOIN}),
        ("room:quiet:2", {SEND}),
        ("room:closed", set()),
        ("room", set()),
        ("announce", {JOIN}),
        ("announce:1", set()),
        ("ops:deploys", {JOIN, SEND, MODERATE}),
        ("elsewhere", set()),
    ],
)
def test_the_most_specific_pattern_alone_decides(channel: str, allowed: set[Action]) -> None:
    """Grants do not add up: the exact name, else the longest covering prefix, says all; no cover, no grant."""
    grants = identity(grants=GRANTS).grants
    assert {action for action in Action if allows(grants, action, ChannelName(channel))} == allowed


def test_the_order_of_the_grants_is_of_no_importance() -> None:
    """The same grants in another order decide the same."""
    backwards = identity(grants=dict(reversed(GRANTS.items()))).grants
    assert not allows(backwards, SEND, ChannelName("room:quiet:1"))
    assert allows(backwards, SEND, ChannelName("room:quiet:2"))


@pytest.mark.parametrize("others", [0, 1_000])
@pytest.mark.parametrize(
    "channel", ["room:1", "room:quiet", "room:quiet:1", "room:quiet:2", "room:closed", "room", "x"]
)
def test_other_grants_change_nothing(channel: str, others: int) -> None:
    """Whether a token has few grants or a thousand, the same pattern decides; also one that covers everything."""
    few = identity(grants=GRANTS | {"*": ["moderate"]}).grants
    many = identity(
        grants={f"other:{number}*": ["join"] for number in range(others)} | GRANTS | {"*": ["moderate"]}
    ).grants
    for action in Action:
        assert allows(many, action, ChannelName(channel)) == allows(few, action, ChannelName(channel))


def test_nothing_granted_is_nothing_allowed() -> None:
    """An identity without grants may do nothing anywhere."""
    assert not any(allows(CompiledGrants({}), action, ROOM) for action in Action)


def test_a_denial_says_which_action_in_which_channel() -> None:
    """`authorize` passes what is granted, and raises with the action and the channel where it is not."""
    alice = identity(grants={"room:*": ["join"]})
    authorize(alice, JOIN, ROOM)
    with pytest.raises(PermissionDenied) as denied:
        authorize(alice, SEND, ROOM)
    assert denied.value.details == {"action": "send", "channel": "room:1"}
    assert str(denied.value) == "no grant for 'send' in 'room:1'"


@pytest.mark.parametrize(
    ("grants", "author", "may"),
    [
        (["join", "send"], "alice", True),
        (["join", "send"], "bob", False),
        (["join"], "alice", False),
        (["moderate"], "bob", True),
        (["moderate"], "alice", True),
        (["moderate"], None, True),
        (["edit_others"], "bob", False),
        (["join", "send"], None, False),
        ([], "alice", False),
    ],
)
def test_the_author_who_may_still_send_or_a_moderator_may_change(
    grants: list[str], author: str | None, may: bool
) -> None:
    """Losing `send` also ends the right over one's own messages; `moderate` is the right over everybody's. An unknown
    message is refused as that of another author."""
    alice = identity("alice", grants={"room:*": grants})
    user = None if author is None else UserId(author)
    if may:
        authorize_change(alice, user, MODERATE, ROOM)
    else:
        with pytest.raises(PermissionDenied):
            authorize_change(alice, user, MODERATE, ROOM)


def test_an_identity_signs_with_its_id_and_name() -> None:
    """What is written into messages is the user's id and present name, not the grants; it is made once."""
    alice = identity("alice")
    assert alice.author == Author(UserId("alice"), "Alice")
    assert alice.author is alice.author
    assert alice == identity("alice")


@pytest.mark.parametrize(
    ("pattern", "channel", "expected"),
    [
        ("*", "room:1", True),
        ("room:*", "room:1", True),
        ("room:*", "room:1:2", True),
        ("room:*", "room", False),
        ("room:*", "rooms", False),
        ("room*", "rooms:1", True),
        ("room*", "room", True),
        ("room", "room", True),
        ("room", "room:1", False),
        ("room:1", "room:10", False),
    ],
)
def test_a_pattern_covers_by_equality_or_prefix(pattern: str, channel: str, expected: bool) -> None:
    """Without a star a pattern covers its own name alone; with one, every name that begins like it."""
    few, many = {pattern: [*Action]}, {pattern: [*Action]} | {f"other:{number}": ["join"] for number in range(1_000)}
    for grants in (few, many):
        assert allows(identity(grants=grants).grants, SEND, ChannelName(channel)) is expected


def test_a_name_is_more_specific_than_a_pattern_and_a_long_prefix_than_a_short_one() -> None:
    """The order in which patterns win, from the strongest: exact name, longer prefix, shorter prefix."""
    patterns = ["room:1", "room:1*", "room:*", "r*", "*"]
    for strongest in range(len(patterns)):
        grants = {pattern: ["join"] for pattern in patterns[strongest + 1 :]} | {patterns[strongest]: ["send"]}
        assert allows(identity(grants=grants).grants, SEND, ROOM)
        assert not allows(identity(grants=grants).grants, JOIN, ROOM)


def rule(grants: Grants, channel: str) -> frozenset[Action]:
    """The rule as PROTOCOL.md states it: the exact name, else the longest start that covers the channel."""
    if channel in grants:
        return grants[channel]
    covering = [pattern for pattern in grants if pattern.endswith("*") and channel.startswith(pattern[:-1])]
    return grants[max(covering, key=len)] if covering else frozenset()


NAMES = st.text("ab:", min_size=1, max_size=6)
PATTERNS = st.text("ab:", max_size=6).map(lambda start: f"{start}*") | NAMES
ACTIONS = st.frozensets(st.sampled_from(Action))


@given(st.dictionaries(PATTERNS, ACTIONS, max_size=12), NAMES)
@example({"aaaaaa*": frozenset({JOIN}), "aa*": frozenset({SEND})}, "aa")
@example({"aa*": frozenset(), "*": frozenset({SEND})}, "aab")
def test_grants_decide_as_the_protocol_states(grants: Grants, channel: str) -> None:
    """Whatever the patterns are, the prepared grants give what the plain rule gives."""
    assert CompiledGrants(grants).actions(ChannelName(channel)) == rule(grants, channel)


@given(st.dictionaries(PATTERNS, ACTIONS, max_size=12))
def test_prepared_grants_are_still_the_grants(grants: Grants) -> None:
    """They are a mapping like the one that they were made of."""
    compiled = CompiledGrants(grants)
    assert compiled == grants
    assert len(compiled) == len(grants)


class Watched(str):
    """A channel name that counts how often a part of it is taken, and compared."""

    __slots__ = ("looks",)

    def __getitem__(self, key: object) -> str:
        self.looks = getattr(self, "looks", 0) + 1
        return super().__getitem__(key)  # type: ignore[index]  # whatever it is, `str` judges it

    def startswith(self, *args: object) -> bool:
        self.looks = getattr(self, "looks", 0) + 1
        return super().startswith(*args)  # type: ignore[arg-type]


def test_a_decision_costs_as_much_with_a_hundred_patterns_as_with_two() -> None:
    """A decision looks once for each length of a prefix, however many patterns have it."""
    few = {"dm:*": frozenset({JOIN}), "room:*": frozenset({SEND})}
    many = few | {f"dm:{number:03}-*": frozenset({JOIN}) for number in range(100)}
    looks = []
    for grants in (few, many):
        channel = Watched("room:" + "x" * 115)
        assert allows(CompiledGrants(grants), SEND, ChannelName(channel))
        looks.append(channel.looks)
    assert looks == [1, 2]
