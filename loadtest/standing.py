"""Where a client stands in each of its channels, and what the server has done wrong by it so far."""

from collections.abc import Iterable, Mapping

from loadtest.judge import Reader, Story, Tally, Verdict
from loadtest.traffic import Listener
from loadtest.wire import Json


class Standing:
    """The positions of one client, who is in the same `channels` for all its life; every event is judged on its way in.

    `stories` are shared by all clients of a process, one for each channel. Faults go to the listener as they are seen;
    a gap may still turn out to be an event that comes late, so what is lost is for `tally` to say, at the end.
    """

    __slots__ = ("_listener", "_readers", "_stories", "_strays")

    def __init__(self, channels: Iterable[str], stories: Mapping[str, Story], listener: Listener) -> None:
        self._readers = {channel: Reader() for channel in channels}
        self._stories, self._listener = stories, listener
        self._strays = 0

    def __contains__(self, channel: str) -> bool:
        """Whether it is one of the client's channels."""
        return channel in self._readers

    @property
    def unjoined(self) -> list[str]:
        """The channels that have never been joined."""
        return [channel for channel, reader in self._readers.items() if not reader.begun]

    def position(self, channel: str) -> Json | None:
        """Where to go on; None where the channel has never been joined."""
        reader = self._readers[channel]
        return {"epoch": reader.epoch, "offset": reader.offset} if reader.begun else None

    @property
    def positions(self) -> Json:
        """All of them, as CONNECT takes them."""
        return {channel: self.position(channel) for channel, reader in self._readers.items() if reader.begun}

    def joined(self, answer: Json) -> None:
        """Begin where the answer of a first join says."""
        self._readers[answer["channel"]].begin(answer["epoch"], answer["offset"])

    def arrived(self, name: str, event: Json, *, live: bool) -> None:
        """Judge a log event."""
        channel, epoch, offset = event["channel"], event["epoch"], event["offset"]
        reader = self._readers.get(channel)
        if reader is None:
            self.stray(f"{channel}: an event of a channel that was not joined")
            return
        before = reader.offset
        verdict = reader.accept(epoch, offset)
        if verdict is not Verdict.NEXT:
            self._listener.fault(verdict, f"{channel}: offset {offset} after {before}")
        if verdict is not Verdict.REPEATED:
            self._listener.heard(event, live=live)
        if name == "message:created" and (key := event["message"]["key"]) is not None:
            told = self._stories[channel].tell(epoch, offset, key)
            if told is not Verdict.NEXT:
                self._listener.fault(told, f"{channel}: two messages at offset {offset}, or one at two offsets")

    def replayed(self, answer: Json) -> None:
        """Judge what a resume, or a join with `since`, has brought."""
        channel, recovered = answer["channel"], bool(answer["recovered"])
        if recovered:
            for event in answer["events"]:
                self.arrived(event["event"], event, live=False)
        verdict = self._readers[channel].resumed(answer["epoch"], answer["offset"], recovered=recovered)
        if verdict is not Verdict.NEXT:
            reason = answer.get("reason", "its events do not lead there")
            self._listener.fault(verdict, f"{channel}: resumed at offset {answer['offset']}: {reason}")

    def stray(self, where: str) -> None:
        """Note that something came that is out of all order."""
        self._strays += 1
        self._listener.fault(Verdict.LATE, where)

    def tally(self, heads: Mapping[str, Mapping[str, int]]) -> Tally:
        """The faults so far; `heads` are the last offsets that are known to exist, by channel and epoch."""
        tally = Tally(disordered=self._strays)
        for channel, reader in self._readers.items():
            tally.add(reader.tally(heads.get(channel, {})))
        return tally

    def behind(self, heads: Mapping[str, Mapping[str, int]]) -> bool:
        """Whether something that is known to exist has not come yet."""
        return any(
            heads.get(channel, {}).get(reader.epoch, 0) > reader.offset for channel, reader in self._readers.items()
        )
