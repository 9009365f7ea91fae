"""A client's position in each of its channels, and the server's faults so far."""

from collections.abc import Iterable, Mapping

from loadtest.judge import ChannelRecord, Reader, Tally, Verdict
from loadtest.traffic import Listener
from loadtest.wire import Json


class ClientState:
    """The positions of one client, which is in the same `channels` for all its life. Judges every event as it arrives.

    `records` has a record of each channel, shared by all clients of a process. Faults go to the listener as they are
    seen. A gap may still turn out to be a late event, so `tally` counts lost events only at the end.
    """

    __slots__ = ("_listener", "_readers", "_records", "_strays")

    def __init__(self, channels: Iterable[str], records: Mapping[str, ChannelRecord], listener: Listener) -> None:
        self._readers = {channel: Reader() for channel in channels}
        self._records, self._listener = records, listener
        self._strays = 0

    def __contains__(self, channel: str) -> bool:
        """Whether the client is a member of the channel."""
        return channel in self._readers

    @property
    def unjoined(self) -> list[str]:
        """The channels that have never been joined."""
        return [channel for channel, reader in self._readers.items() if not reader.begun]

    def position(self, channel: str) -> Json | None:
        """The position to resume from; None if the channel has never been joined."""
        reader = self._readers[channel]
        return {"epoch": reader.epoch, "offset": reader.offset} if reader.begun else None

    @property
    def positions(self) -> Json:
        """All positions, as CONNECT takes them."""
        return {channel: self.position(channel) for channel, reader in self._readers.items() if reader.begun}

    def joined(self, answer: Json) -> None:
        """Begin at the position in the answer to a first join."""
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
            told = self._records[channel].note(epoch, offset, key)
            if told is not Verdict.NEXT:
                self._listener.fault(told, f"{channel}: two messages at offset {offset}, or one at two offsets")

    def replayed(self, answer: Json) -> None:
        """Judge the answer to a resume, or to a join with `since`."""
        channel, recovered = answer["channel"], bool(answer["recovered"])
        if recovered:
            for event in answer["events"]:
                self.arrived(event["event"], event, live=False)
        verdict = self._readers[channel].resumed(answer["epoch"], answer["offset"], recovered=recovered)
        if verdict is not Verdict.NEXT:
            reason = answer.get("reason", "its events do not lead there")
            self._listener.fault(verdict, f"{channel}: resumed at offset {answer['offset']}: {reason}")

    def stray(self, where: str) -> None:
        """Note an event or an ack that is out of order, and belongs to no reader."""
        self._strays += 1
        self._listener.fault(Verdict.LATE, where)

    def tally(self, heads: Mapping[str, Mapping[str, int]]) -> Tally:
        """Count the faults so far. `heads` are the last offsets known to exist, by channel and epoch."""
        tally = Tally(disordered=self._strays)
        for channel, reader in self._readers.items():
            tally.add(reader.tally(heads.get(channel, {})))
        return tally

    def behind(self, heads: Mapping[str, Mapping[str, int]]) -> bool:
        """Whether an event that is known to exist has not arrived yet."""
        return any(
            heads.get(channel, {}).get(reader.epoch, 0) > reader.offset for channel, reader in self._readers.items()
        )
