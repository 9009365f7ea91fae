"""One simulated client: it does what PROTOCOL.md asks, and tells a right server from a wrong one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest import wire
from loadtest.frames import Opcode, WireError, frame
from loadtest.judge import Ack, ChannelRecord, Tally, Verdict
from loadtest.traffic import Closed, Outgoing, Refused, Stage
from tests.clients.frames import unmasked
from tests.unit.loadtest.forged_server import (
    CHANNEL,
    CONNECTED,
    EPOCH,
    OPEN,
    READY,
    SWITCHING,
    Visit,
    ack,
    created,
    event,
    failed,
    joined,
    kept,
    live,
    resumed,
    said,
)


def note(key: str) -> Outgoing:
    """A message to be sent."""
    return Outgoing(CHANNEL, key, "text", "clock", 1.5)


def tally(visit: Visit, head: int = 0) -> Tally:
    """The faults that the visit has seen."""
    return visit.session.state.tally({CHANNEL: {EPOCH: head}})


class TestConnection:
    """From the handshake to the end."""

    def test_it_comes_in_step_by_step(self) -> None:
        """The token goes into CONNECT, after OPEN; the channels are joined after `session:ready`."""
        visit = Visit()
        assert visit.session.dial().startswith(
            b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: host:1\r\n"
        )
        assert visit.session.hear(SWITCHING[:30]) == b""
        assert visit.session.hear(SWITCHING[30:] + OPEN) == frame(b'40/chat,{"token":"TOKEN"}')
        assert visit.session.patience_s == 3.0
        assert visit.session.hear(CONNECTED) == b""
        assert said(visit.session.hear(READY)) == [(1, "channel:join", {"channel": CHANNEL})]
        assert visit.stage() is Stage.ENTERING
        assert visit.session.hear(ack(1, joined(5))) == b""
        assert visit.stage() is Stage.READY
        assert visit.heard.times_ready == 1
        assert visit.session.state.positions == {CHANNEL: {"epoch": EPOCH, "offset": 5}}

    def test_it_answers_both_kinds_of_ping(self) -> None:
        """Engine.IO's and WebSocket's."""
        visit = Visit()
        visit.enter()
        assert visit.session.hear(unmasked("2")) == wire.PONG
        assert visit.session.hear(b"\x89\x02hi") == frame(b"hi", Opcode.PONG)

    def test_a_fresh_token_for_each_connection(self) -> None:
        """With the positions to resume from."""
        tokens = iter(["one", "two"])
        visit = Visit(lambda: next(tokens))
        visit.enter(offset=3)
        visit.session.hang_up()
        visit.session.dial()
        assert visit.session.hear(SWITCHING + OPEN) == wire.connect("two", {CHANNEL: {"epoch": EPOCH, "offset": 3}})

    @pytest.mark.parametrize(("status", "retryable"), [(503, True), (429, True), (400, False)])
    def test_a_refused_handshake(self, status: int, retryable: bool) -> None:
        """503 is for now, and says for how long."""
        visit = Visit()
        visit.session.dial()
        with pytest.raises(Refused, match=str(status)) as refused:
            visit.session.hear(f"HTTP/1.1 {status} No\r\nRetry-After: 2\r\n\r\n".encode())
        assert (refused.value.retryable, refused.value.retry_after_s) == (retryable, 2.0)

    def test_a_refused_connect(self) -> None:
        """The code of CONNECT_ERROR says whether to try again."""
        visit = Visit()
        visit.session.dial()
        error = '44/chat,{"message":"token_expired","data":{"code":"token_expired","message":"m","retryable":false}}'
        with pytest.raises(Refused, match="token_expired") as refused:
            visit.session.hear(SWITCHING + OPEN + unmasked(error))
        assert not refused.value.retryable

    @pytest.mark.parametrize(
        ("data", "code"), [(b"\x88\x02\x03\xf4", 1012), (b"\x88\x00", 1005), (unmasked("41/chat,"), 1000)]
    )
    def test_the_server_ends_it(self, data: bytes, code: int) -> None:
        """A close frame, one without a code, and DISCONNECT."""
        visit = Visit()
        visit.enter()
        with pytest.raises(Closed) as closed:
            visit.session.hear(data)
        assert closed.value.code == code

    @pytest.mark.parametrize(
        "data",
        [
            unmasked("what?"),
            ack(99, kept(1)),
            event("message:created", {"epoch": EPOCH, "offset": 1}),
            event("channel:resumed", {"channel": "room:other", "recovered": False, "epoch": EPOCH, "offset": 1}),
        ],
    )
    def test_what_is_not_of_this_protocol(self, data: bytes) -> None:
        """An unknown packet, an answer to nothing, an event without a channel, a resume that nobody asked for."""
        visit = Visit()
        visit.enter()
        with pytest.raises(WireError):
            visit.session.hear(data)


class TestJudgement:
    """What the server does is held against its promises."""

    def test_a_right_server_has_no_fault(self) -> None:
        """Live, then a resume with what was missed, then live again."""
        visit = Visit()
        visit.enter()
        visit.session.hear(live(1) + live(2))
        visit.come_back(resumed(4, [3, 4]), READY, live(5))
        assert visit.heard.events == [(1, True), (2, True), (3, False), (4, False), (5, True)]
        assert visit.heard.faults == []
        assert tally(visit, head=5).clean
        assert visit.heard.times_ready == 2

    @given(st.lists(st.integers(1, 12), max_size=20), st.integers(0, 12))
    def test_a_wrong_server_is_told_from_a_right_one(self, offsets: list[int], already: int) -> None:
        """Clean exactly if the events came once, in order, without a gap, up to the head."""
        visit = Visit()
        visit.enter(already)
        for offset in offsets:
            visit.session.hear(live(offset))
        assert tally(visit, head=12).clean == (offsets == list(range(already + 1, 13)))

    @pytest.mark.parametrize(
        ("answer", "expected"),
        [
            (resumed(4, [4]), Tally(lost=1)),
            (resumed(4, [2, 3, 4]), Tally(duplicated=1)),
            (resumed(4, [4, 3]), Tally(disordered=1)),
            (resumed(5, [3, 4]), Tally(lost=1)),
            (resumed(3, [3, 4]), Tally(disordered=1)),
            (resumed(9, [], recovered=False, reason="too_far_behind"), Tally(lost=7, unrecovered=1)),
            (resumed(0, [], recovered=False, reason="epoch_changed", epoch="two"), Tally(unrecovered=1)),
        ],
    )
    def test_a_resume_gives_exactly_what_was_missed(self, answer: bytes, expected: Tally) -> None:
        """Neither less nor more, in order, and up to the position that it names; or it is said that it can't be."""
        visit = Visit()
        visit.enter()
        visit.session.hear(live(1) + live(2))
        visit.come_back(answer, READY)
        assert tally(visit) == expected
        assert visit.heard.faults

    def test_what_comes_before_its_join_is_out_of_order(self) -> None:
        """A client ignores events of a channel before the answer to its join: such a one would be lost."""
        visit = Visit()
        visit.session.dial()
        visit.session.hear(SWITCHING + OPEN + CONNECTED + READY + live(1))
        assert tally(visit) == Tally(disordered=1)

    def test_a_channel_that_was_not_asked_for(self) -> None:
        """Its events are out of order too."""
        visit = Visit()
        visit.enter()
        visit.session.hear(live(1, channel="room:b"))
        assert tally(visit) == Tally(disordered=1)

    def test_members_must_agree(self) -> None:
        """Two sessions of a process saw different messages at one offset."""
        record = ChannelRecord()
        visits = [Visit(records={CHANNEL: record}) for _ in range(2)]
        for visit, key in zip(visits, ("a", "b"), strict=True):
            visit.enter()
            visit.session.hear(live(1, key=key))
        assert [visit.heard.faults for visit in visits] == [[], [Verdict.LATE]]
        assert record.tally == Tally(disordered=1)

    def test_a_member_is_behind_until_it_has_heard_all(self) -> None:
        """Held against what is known to exist."""
        visit = Visit()
        visit.enter()
        heads = {CHANNEL: {EPOCH: 1}}
        assert visit.session.state.behind(heads)
        visit.session.hear(live(1))
        assert not visit.session.state.behind(heads)

    def test_ephemeral_events_have_no_position(self) -> None:
        """They are not judged; later versions of the server may send some."""
        visit = Visit()
        visit.enter()
        visit.session.hear(event("typing:changed", {"channel": CHANNEL, "user": "u"}))
        assert tally(visit).clean
        assert visit.heard.events == []

    def test_a_notice_of_a_drain_is_passed_on(self) -> None:
        """The session itself goes on as before."""
        visit = Visit()
        visit.enter()
        assert visit.session.hear(event("session:draining", {"reconnect_in_ms": 1_500, "deadline_ms": 3_500})) == b""
        assert visit.heard.moves == [1.5]
        assert visit.stage() is Stage.READY


class TestCommands:
    """What is said, is said until it is answered."""

    def test_an_ack_ends_it(self) -> None:
        """The message goes out with its key and its time."""
        visit = Visit()
        visit.enter()
        payload = {"channel": CHANNEL, "text": "text", "key": "k", "data": {"clock": "clock", "at": 1.5}}
        assert said(visit.session.say(note("k"))) == [(2, "message:send", payload)]
        visit.session.hear(ack(2, kept(1)))
        assert visit.heard.acks == [("k", Ack(CHANNEL, EPOCH, 1, "k"))]
        assert visit.session.outbox == {}

    def test_what_is_unanswered_is_said_again_under_its_key(self) -> None:
        """In its order, when the session is ready again; also what was said meanwhile. A late duplicate is in order."""
        visit = Visit()
        visit.enter()
        visit.session.say(note("k1"))
        visit.session.say(note("k2"))
        visit.session.hang_up()
        assert visit.session.say(note("k3")) == b""
        again = said(visit.come_back(resumed(0, []), READY))
        assert [(number, payload["key"]) for number, _, payload in again] == [(1, "k1"), (2, "k2"), (3, "k3")]
        visit.session.hear(ack(1, kept(7)) + ack(2, kept(2, duplicate=True)) + ack(3, kept(8)))
        assert [ack.offset for _, ack in visit.heard.acks] == [7, 2, 8]
        assert tally(visit).clean

    def test_later_sends_get_later_offsets(self) -> None:
        """Else commands were done out of order."""
        visit = Visit()
        visit.enter()
        visit.session.say(note("k1"))
        visit.session.say(note("k2"))
        visit.session.hear(ack(2, kept(2)) + ack(3, kept(1)))
        assert tally(visit) == Tally(disordered=1)

    @pytest.mark.parametrize(("code", "retryable"), [("unavailable", True), ("permission_denied", False)])
    def test_a_refused_message(self, code: str, retryable: bool) -> None:
        """What may succeed later is said again when the time has come, and only then."""
        visit = Visit()
        visit.enter()
        visit.session.say(note("k"))
        visit.session.hear(ack(2, failed(code, retryable=retryable)))
        assert [(key, refusal.code) for key, refusal in visit.heard.refusals] == [("k", code)]
        assert [payload["key"] for _, _, payload in said(visit.session.retry())] == (["k"] if retryable else [])
        assert visit.session.retry() == b""
        assert list(visit.session.outbox) == (["k"] if retryable else [])

    def test_a_join_that_is_refused_for_now(self) -> None:
        """It is asked for again, and the session is ready only then."""
        visit = Visit()
        visit.session.dial()
        visit.session.hear(SWITCHING + OPEN + CONNECTED + READY)
        visit.session.hear(ack(1, failed("unavailable", retryable=True)))
        assert visit.stage() is Stage.ENTERING
        assert [(channel, refusal.code) for channel, refusal in visit.heard.refusals] == [(CHANNEL, "unavailable")]
        assert said(visit.session.retry()) == [(2, "channel:join", {"channel": CHANNEL})]
        visit.session.hear(ack(2, joined(0)))
        assert visit.stage() is Stage.READY

    def test_a_join_that_is_refused_for_good(self) -> None:
        """A load that may not join is no load."""
        visit = Visit()
        visit.session.dial()
        visit.session.hear(SWITCHING + OPEN + CONNECTED + READY)
        with pytest.raises(Refused, match="permission_denied"):
            visit.session.hear(ack(1, failed("permission_denied", retryable=False)))

    def test_a_channel_that_could_not_be_resumed_now(self) -> None:
        """It is joined later from the same position, and nothing is lost."""
        visit = Visit()
        visit.enter()
        visit.session.hear(live(1))
        removed = event("channel:removed", {"channel": CHANNEL, "code": "unavailable"})
        visit.come_back(removed, READY)
        assert visit.stage() is Stage.ENTERING
        since = {"channel": CHANNEL, "since": {"epoch": EPOCH, "offset": 1}}
        assert said(visit.session.retry()) == [(1, "channel:join", since)]
        visit.session.hear(ack(1, joined(2, recovered=True, events=[created(2)])))
        assert visit.stage() is Stage.READY
        assert tally(visit, head=2).clean

    def test_a_channel_that_it_may_not_be_in(self) -> None:
        """Removed for good: the load can't go on."""
        visit = Visit()
        visit.enter()
        with pytest.raises(Refused, match="permission_denied"):
            visit.session.hear(event("channel:removed", {"channel": CHANNEL, "code": "permission_denied"}))
