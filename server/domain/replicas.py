"""Replicas as they see each other: who lives, in which state, with what numbers."""

from collections.abc import Mapping
from enum import StrEnum
from typing import NewType

from server.domain.values import value

ReplicaId = NewType("ReplicaId", str)
"""A random id of a process, new at each start."""


class ReplicaState(StrEnum):
    """What a replica says of itself."""

    STARTING = "starting"
    SERVING = "serving"
    DRAINING = "draining"


@value
class ReplicaRow:
    """What a replica last said of itself. Times in milliseconds since the epoch, by the store's clock; `numbers` are
    counts and sizes by name, for operators."""

    id: ReplicaId
    state: ReplicaState
    version: str
    started_at: int
    seen_at: int
    numbers: Mapping[str, float]
