"""Epochs of stores that have an identity: every channel has an epoch before its first event, without a write."""

from hashlib import blake2b

from server.domain.channels import ChannelName

STORE_ID_BYTES = 16
"""Random bytes that are made together with a store and lost together with it: as unique as a UUID."""

_EPOCH_BYTES = 8
"""64 bits: two stores do not get the same epoch by chance."""


def channel_epoch(store_id: bytes, channel: ChannelName) -> str:
    """Return the channel's epoch in the store with this id: 16 hexadecimal digits, always the same.

    If the store is lost or replaced, its id changes, and with the id the epochs of all channels.
    """
    return blake2b(channel.encode(), digest_size=_EPOCH_BYTES, key=store_id).hexdigest()
