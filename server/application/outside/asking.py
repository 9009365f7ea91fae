"""Asking a backend before commands take effect, if the channel's rule says so."""

from collections.abc import Callable
from functools import partial
from typing import Protocol, TypeVar

import structlog

from server.application.commands import Edit, Send
from server.application.outside.accepted_joins import AcceptedJoins
from server.application.people.payloads import Publish
from server.domain.channels import ChannelName
from server.domain.circuits import Circuit
from server.domain.errors import MaruError, Overloaded, PermissionDenied, Unauthenticated, Unavailable
from server.domain.hooks import Accept, AskOutcome, Hook, HookFailure, NoVerdict, Question, Reject, Replace, Verdict
from server.domain.identity import Identity, SessionId
from server.domain.messages import MessageId
from server.domain.rules import Rules
from server.ports.hooks import HookMetrics, Hooks
from server.ports.metrics import SILENT

MAX_ASKS = 256
"""Questions under way, of a replica."""

TOLD_S = 5.0
"""Seconds between two log lines about questions without a verdict."""

C = TypeVar("C", Send, Edit, Publish)


class Asker(Protocol):
    """The session whose command is asked about."""

    @property
    def id(self) -> SessionId: ...

    @property
    def identity(self) -> Identity: ...

    @property
    def ended(self) -> bool: ...


_log = structlog.get_logger("maru.hooks")


class Asking:
    """Asks `hooks` before joins, sends, events and edits in channels whose rule names them. `clock` is monotonic, in
    seconds.

    A rejection is raised as `PermissionDenied`. Without a verdict the command is let through, or `Unavailable`, as the
    rule says; with too many questions under way it is `Overloaded`. Each hook has a circuit of its own, so that a
    backend that fails to judge messages keeps nobody out of a channel. When a verdict comes, look again whether the
    grants hold: they may have changed.
    """

    def __init__(self, hooks: Hooks, rules: Rules, clock: Callable[[], float], metrics: HookMetrics = SILENT) -> None:
        self._hooks = hooks
        self._rules = rules
        self.clock = clock
        self._metrics = metrics
        self._circuits = {hook: Circuit() for hook in Hook}
        self.accepted = AcceptedJoins()
        """Forget entries of it when users are removed from channels."""
        self._told_at = -TOLD_S  # when the last line about a missing verdict was written
        self._untold = 0  # questions without a verdict since then
        self.in_flight = 0  # questions under way

    def asks(self, hook: Hook, channel: ChannelName) -> bool:
        """Say whether the backend is to be asked."""
        return hook in self._rules.of(channel).hooks

    def asker(self, hook: Hook) -> Callable[[ChannelName], bool] | None:
        """Return `asks` for a hook, as a step of every such command; None if no rule names the hook."""
        return partial(self.asks, hook) if hook in self._rules.hooks else None

    @property
    def open(self) -> frozenset[Hook]:
        """The hooks whose backend is left alone at the moment, since it gave too few verdicts."""
        return frozenset(hook for hook, circuit in self._circuits.items() if circuit.is_open)

    async def before_join(self, session: SessionId, identity: Identity, channel: ChannelName) -> bool:
        """Ask before a join that the grants allow. Return whether there is a verdict; False if the join is let through
        without. Raises `PermissionDenied`, `Unavailable`, `Overloaded`."""
        if not self.asks(Hook.JOIN, channel):
            return True
        user, forgotten = identity.user, self.accepted.forgotten
        if self.accepted.holds(user, channel, self.clock()):
            self._metrics.asked(Hook.JOIN, AskOutcome.REMEMBERED, None)
            return True
        verdict = await self._ask(Question(Hook.JOIN, user, session, channel), _no_content)
        if isinstance(verdict, Accept) and verdict.cache_s and forgotten == self.accepted.forgotten:
            self.accepted.keep(user, channel, self.clock() + verdict.cache_s)
        return verdict is not None

    def leave_out(self, channel: ChannelName) -> None:
        """Let a join through without asking, or raise `Unavailable`, as the rule says."""
        self._metrics.asked(Hook.JOIN, AskOutcome.CIRCUIT_OPEN, None)
        self._without(Hook.JOIN, channel, "not asked, since earlier questions of the resume had no verdict")

    async def before_send(self, session: Asker, command: Send) -> Send:
        """Ask before a message is written. Return the command, perhaps with another content. Raises as `before_join`,
        and `Unauthenticated` if the session has ended meanwhile."""
        channel = ChannelName(command.channel)
        if not self.asks(Hook.SEND, channel):
            return command
        content = command.text, command.data, command.key
        question = Question(Hook.SEND, session.identity.user, session.id, channel, *content)
        return await self._content(session, question, command)

    async def before_edit(self, session: Asker, command: Edit) -> Edit:
        """As `before_send`, before a message that the user may edit is given its new content."""
        channel = ChannelName(command.channel)
        if not self.asks(Hook.EDIT, channel):
            return command
        content = command.text, command.data, None, MessageId(command.id)
        question = Question(Hook.EDIT, session.identity.user, session.id, channel, *content)
        return await self._content(session, question, command)

    async def before_publish(self, session: Asker, command: Publish) -> Publish:
        """As `before_send`, before an event of an application is published."""
        channel = ChannelName(command.channel)
        if not self.asks(Hook.SEND, channel):
            return command
        user = session.identity.user
        question = Question(Hook.SEND, user, session.id, channel, None, command.data, command.key, name=command.name)
        return await self._content(session, question, command)

    async def _content(self, session: Asker, question: Question, command: C) -> C:
        verdict = await self._ask(question, partial(_replaced, command))
        if session.ended:
            raise Unauthenticated("the session has ended; connect again")
        return command if verdict is None or isinstance(verdict, Accept) else verdict

    async def _ask(self, question: Question, replaced: Callable[[Replace], C]) -> Accept | C | None:
        """Return the backend's acceptance, or the command as it replaces it; None if it is let through unjudged."""
        try:
            verdict = await self._verdict(question, replaced)
        except NoVerdict as error:
            self._without(question.hook, question.channel, str(error))
            return None
        if isinstance(verdict, Reject):
            raise PermissionDenied(f"the application refuses this {question.hook}", details={"reason": verdict.reason})
        return verdict

    async def _verdict(self, question: Question, replaced: Callable[[Replace], C]) -> Accept | Reject | C:
        hook, circuit = question.hook, self._circuits[question.hook]
        if self.in_flight >= MAX_ASKS:
            self._metrics.asked(hook, AskOutcome.OVERLOADED, None)
            raise Overloaded("too many commands wait for the backend that decides on them")
        began = self.clock()
        era = circuit.begin(began)
        if era is None:
            self._metrics.asked(hook, AskOutcome.CIRCUIT_OPEN, None)
            raise NoVerdict(AskOutcome.CIRCUIT_OPEN, "not asked, since too few of the last questions had a verdict")
        self.in_flight += 1
        outcome = AskOutcome.GIVEN_UP
        try:
            verdict = await self._hooks.ask(question)
            answer = replaced(verdict) if isinstance(verdict, Replace) else verdict
            outcome = _OUTCOMES[type(verdict)]
            return answer
        except NoVerdict as error:
            outcome = error.outcome
            raise
        finally:
            self.in_flight -= 1
            self._metrics.asked(hook, outcome, self.clock() - began)
            self._report(hook, era, outcome)

    def _report(self, hook: Hook, era: int, outcome: AskOutcome) -> None:
        circuit, now = self._circuits[hook], self.clock()
        if outcome is AskOutcome.GIVEN_UP:
            circuit.gave_up(era)
        elif outcome in _OUTCOMES.values():
            if circuit.succeeded(era, now):
                _log.warning("hook.circuit_closed", hook=hook)
        elif circuit.failed(era, now):
            _log.warning("hook.circuit_opened", hook=hook, outcome=outcome)

    def _without(self, hook: Hook, channel: ChannelName, why: str) -> None:
        """Let a command through that nobody has judged, or raise `Unavailable`, as the channel's rule says."""
        lets_through = self._rules.of(channel).hook_failure is HookFailure.OPEN
        self._tell(hook, why, lets_through=lets_through)
        if not lets_through:
            raise Unavailable(f"the backend that decides on each {hook} here gives no verdict")
        self._metrics.let_through(hook)

    def _tell(self, hook: Hook, why: str, *, lets_through: bool) -> None:
        self._untold += 1
        now = self.clock()
        if now >= self._told_at + TOLD_S:
            _log.warning("hook.no_verdict", hook=hook, why=why, lets_through=lets_through, count=self._untold)
            self._told_at, self._untold = now, 0


_OUTCOMES: dict[type[Verdict], AskOutcome] = {
    Accept: AskOutcome.ACCEPTED,
    Reject: AskOutcome.REJECTED,
    Replace: AskOutcome.REPLACED,
}


def _replaced(command: C, replacement: Replace) -> C:
    """Return the command with another content, within the same bounds. Raises `NoVerdict` if it is out of them."""
    rest = {name: given for name, given in command.model_dump(exclude_unset=True).items() if name not in _CONTENT}
    try:
        return type(command).parse(rest | replacement.content)
    except MaruError as error:
        raise NoVerdict(AskOutcome.BAD_ANSWER, f"replace: {error.message}") from None


_CONTENT = ("text", "data")


def _no_content(_: Replace) -> Send:
    raise NoVerdict(AskOutcome.BAD_ANSWER, "action: replace, although a join has no content")
