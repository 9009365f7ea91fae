"""The state of the reactions to a message, and their bounds."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.domain.errors import Conflict
from server.domain.identity import UserId
from server.domain.reactions import MAX_EMOJIS, MAX_REACTORS, SHOWN_USERS, Reacted
from server.domain.tallies import Tally, react_to_deleted, too_many_emojis, too_many_reactors


def user(number: int) -> UserId:
    """The user with this number."""
    return UserId(f"user-{number}")


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 12))))
def test_a_tally_is_a_set_in_the_order_of_its_making(toggled: Sequence[tuple[str, int]]) -> None:
    """Whatever is added and removed: emojis stand by their first reaction that is still there, users earliest first."""
    tally, made = Tally(), list[tuple[str, UserId]]()
    for emoji, number in toggled:
        pair = (emoji, user(number))
        assert tally.has(*pair) == (pair in made)
        tally.change(*pair, add=pair not in made)
        if pair in made:
            made.remove(pair)
        else:
            made.append(pair)
        assert tally.count(emoji) == len([each for each in made if each[0] == emoji])
    users = {emoji: tuple(who for name, who in made if name == emoji) for emoji, _ in made}
    assert tally.state() == tuple(Reacted(emoji, len(of), of[:SHOWN_USERS]) for emoji, of in users.items())


def test_a_message_has_a_few_emojis() -> None:
    """A further emoji is refused, a further user of an emoji that is there is not; there is room after a removal."""
    tally = Tally()
    for number in range(MAX_EMOJIS):
        tally.check(str(number))
        tally.change(str(number), user(1), add=True)
    with pytest.raises(Conflict, match=str(MAX_EMOJIS)) as raised:
        tally.check("more")
    assert raised.value.message == too_many_emojis().message
    tally.check("0")
    tally.change("0", user(1), add=False)
    tally.check("more")


def test_a_message_has_some_thousand_reactions() -> None:
    """The bound counts the reactions of all emojis together."""
    tally = Tally()
    for number in range(MAX_REACTORS):
        tally.check("ab"[number % 2])
        tally.change("ab"[number % 2], user(number), add=True)
    with pytest.raises(Conflict) as raised:
        tally.check("a")
    assert raised.value.message == too_many_reactors().message
    tally.change("b", user(1), add=False)
    tally.check("a")


def test_a_deleted_message_has_no_reactions() -> None:
    """The refusal says so."""
    assert "deleted" in react_to_deleted().message
