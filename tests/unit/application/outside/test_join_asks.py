"""Asking about the channels of a resume: together, in bounds, and not for ever."""

import asyncio

import pytest

from server.application.outside.asking import Asking
from server.application.outside.join_asks import AHEAD, RESUME_ASKS, JoinAsks
from server.domain.channels import ChannelName
from server.domain.errors import PermissionDenied, Unavailable
from server.domain.hooks import Accept, Hook, HookFailure, Question, Reject, Verdict
from server.domain.identity import SessionId
from server.domain.rules import Rule, Rules
from tests.doubles.hooks import HANG, FakeBackend
from tests.doubles.samples import identity
from tests.doubles.virtual_time import virtually

JOIN = frozenset({Hook.JOIN})
RULES = Rules({"room:*": Rule(hooks=JOIN), "open:*": Rule(hooks=JOIN, hook_failure=HookFailure.OPEN)})
SESSION = SessionId("s")
ROOMS = [ChannelName(f"room:{number}") for number in range(500)]


def asks_of(backend: FakeBackend) -> JoinAsks:
    """The use case, by the loop's time."""
    return JoinAsks(Asking(backend, RULES, asyncio.get_running_loop().time))


async def test_a_single_join() -> None:
    """Raises what the verdict says."""
    asks = asks_of(FakeBackend(lambda _: Reject("no")))
    assert asks.asks(ROOMS[0])
    assert not asks.asks(ChannelName("dm:1"))
    with pytest.raises(PermissionDenied):
        await asks.before_join(SESSION, identity(), ROOMS[0])


def test_a_few_channels_at_a_time() -> None:
    """Eight of a session; each refusal with its reason."""

    async def scenario() -> None:
        def answer(question: Question) -> Verdict:
            return Reject() if question.channel.endswith("7") else Accept()

        backend = FakeBackend(answer)
        backend.takes_s = 0.02
        refused = await asks_of(backend).refused(SESSION, identity(), ROOMS[:100], lambda: True)
        assert [*refused] == [room for room in ROOMS[:100] if room.endswith("7")]
        assert {type(error) for error in refused.values()} == {PermissionDenied}
        assert backend.most == AHEAD

    virtually(scenario)


def test_after_a_deploy_sessions_wait_for_each_other() -> None:
    """However many come back, no more than 128 questions of resumes are under way, and none is refused for that."""

    async def scenario() -> None:
        backend = FakeBackend()
        backend.takes_s = 0.02
        asks = asks_of(backend)
        resumes = (asks.refused(SESSION, identity(str(n)), ROOMS[:20], lambda: True) for n in range(60))
        assert not any(await asyncio.gather(*resumes))
        assert len(backend.asked) == 60 * 20
        assert backend.most == RESUME_ASKS

    virtually(scenario)


def test_a_backend_that_hangs_does_not_hold_up_a_resume() -> None:
    """Eight questions wait in vain; the other 492 are not asked, and all are refused, or let through, as the rule
    says."""

    async def scenario() -> None:
        for kind, expected in (("room", 500), ("open", 0)):
            backend = FakeBackend(lambda _: HANG)
            asks = asks_of(backend)
            began = asyncio.get_running_loop().time()
            channels = [ChannelName(f"{kind}:{number}") for number in range(500)]
            refused = await asks.refused(SESSION, identity(), channels, lambda: True)
            assert asyncio.get_running_loop().time() - began <= 1.1
            assert len(backend.asked) == AHEAD
            assert len(refused) == expected
            assert {type(error) for error in refused.values()} <= {Unavailable}

    virtually(scenario)


def test_a_session_that_is_gone_is_not_asked_about() -> None:
    """The questions end with it."""

    async def scenario() -> None:
        backend = FakeBackend()
        backend.takes_s = 0.02
        present = True

        def leave() -> None:
            nonlocal present
            present = len(backend.asked) < 10

        backend.on_ask = leave
        await asks_of(backend).refused(SESSION, identity(), ROOMS, lambda: present)
        assert len(backend.asked) <= 10 + AHEAD

    virtually(scenario)
