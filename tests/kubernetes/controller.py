"""The Deployment's controller: the pods to create and to delete, and the status. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from tests.kubernetes.api.kinds import Json
from tests.kubernetes.manifest import Deployment
from tests.kubernetes.pod import Pod


@dataclass(frozen=True, slots=True)
class Plan:
    """The next step: the number of pods of the current template to create, and the pods to delete."""

    create: int = 0
    delete: tuple[Pod, ...] = ()


def plan(wanted: Deployment, pods: Sequence[Pod], now: float) -> Plan:
    """Return the next step of a rolling update. Pods that are being deleted do not count.

    As `rolling.go` of the controller: grow first, within maxSurge; then delete old pods, unavailable pods first, and
    keep at least `replicas - maxUnavailable` pods available.
    """
    live = [pod for pod in pods if pod.deleted_at is None]
    new = [pod for pod in live if pod.template == wanted.template]
    old = [pod for pod in live if pod.template != wanted.template]
    if len(new) > wanted.replicas:
        return Plan(delete=tuple(_least_useful(new)[: len(new) - wanted.replicas]))
    create = min(wanted.replicas + wanted.surge - len(live), wanted.replicas - len(new))
    if create > 0:
        return Plan(create=create)
    return Plan(delete=_removable(wanted, live, new, old, now))


def _removable(
    wanted: Deployment, live: Sequence[Pod], new: Sequence[Pod], old: Sequence[Pod], now: float
) -> tuple[Pod, ...]:
    def available(pod: Pod) -> bool:
        return pod.available(now, wanted.min_ready_s)

    needed = wanted.replicas - wanted.unavailable
    unavailable_new = sum(not available(pod) for pod in new)
    room = len(live) - needed - unavailable_new
    if room <= 0:
        return ()
    broken = [pod for pod in _least_useful(old) if not available(pod)][:room]
    spare = sum(available(pod) for pod in live) - needed
    healthy = [pod for pod in _least_useful(old) if available(pod)][: max(0, spare)]
    return (*broken, *healthy)


def _least_useful(pods: Sequence[Pod]) -> list[Pod]:
    """Return the pods in the order in which a ReplicaSet deletes them: the unready, then the latest to become ready."""
    return sorted(pods, key=lambda pod: (pod.ready, -pod.ready_at, -pod.born_at))


class Progress:
    """Watches a rollout for progress, and reports in the Deployment's status if it has stalled."""

    def __init__(self) -> None:
        self._generation = 0  # of the Deployment, at the last look
        self._counts = (0, 0, 0, 0)  # updated, outdated, ready, available pods at the last look
        self._moved_at = 0.0  # the last progress

    def status(self, wanted: Deployment, pods: Sequence[Pod], now: float) -> Json:
        """Return the Deployment's `status`."""
        live = [pod for pod in pods if pod.deleted_at is None]
        updated = sum(pod.template == wanted.template for pod in live)
        ready = sum(pod.ready for pod in live)
        available = sum(pod.available(now, wanted.min_ready_s) for pod in live)
        done = updated == len(live) == available == wanted.replicas
        counts = (updated, len(live) - updated, ready, available)
        if self._generation != wanted.generation or self._advanced(counts):
            self._moved_at = now
        self._generation, self._counts = wanted.generation, counts
        stalled = not done and now - self._moved_at > wanted.progress_deadline_s
        return {
            "observedGeneration": wanted.generation,
            "replicas": len(live),
            "updatedReplicas": updated,
            "readyReplicas": ready,
            "availableReplicas": available,
            "unavailableReplicas": max(0, wanted.replicas - available),
            "conditions": [
                _condition("Available", available >= wanted.replicas - wanted.unavailable, "MinimumReplicasAvailable"),
                _condition("Progressing", not stalled, _reason(done, stalled)),
            ],
        }

    def _advanced(self, counts: tuple[int, int, int, int]) -> bool:
        updated, outdated, ready, available = counts
        was = self._counts
        return updated > was[0] or outdated < was[1] or ready > was[2] or available > was[3]


def _reason(done: bool, stalled: bool) -> str:
    if stalled:
        return "ProgressDeadlineExceeded"
    return "NewReplicaSetAvailable" if done else "ReplicaSetUpdated"


def _condition(name: str, holds: bool, reason: str) -> Json:
    return {"type": name, "status": "True" if holds else "False", "reason": reason}
