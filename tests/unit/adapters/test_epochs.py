"""Epochs of stores with an identity."""

from server.adapters.epochs import STORE_ID_BYTES, channel_epoch
from server.domain.channels import ChannelName
from tests.doubles.samples import ROOM


def test_epochs_tell_stores_and_channels_apart() -> None:
    """One channel of one store always has the same epoch; another channel or another store has another epoch."""
    one, other = bytes(STORE_ID_BYTES), bytes([1] * STORE_ID_BYTES)
    epochs = [channel_epoch(store, channel) for store in (one, other) for channel in (ROOM, ChannelName("room:2"))]
    assert len(set(epochs)) == 4
    assert all(len(epoch) == 16 and int(epoch, 16) >= 0 for epoch in epochs)
    assert epochs[0] == channel_epoch(one, ROOM)
