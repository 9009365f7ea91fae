"""The actions of a kubelet on a pod, by the second."""

from dataclasses import replace

from tests.kubernetes.pod import Do, Pod
from tests.kubernetes.sample_pods import TEMPLATE, ready, unready


def test_a_container_is_started_once_and_asked_at_its_periods() -> None:
    """Startup first; readiness and liveness begin when it has passed, and go on at their own periods."""
    pod = Pod("a", TEMPLATE, born_at=100.0)
    assert pod.due(100.0) == [Do.START]
    assert pod.due(100.0) == [Do.STARTUP]
    assert pod.due(100.9) == []
    pod.answered(Do.STARTUP, False, 100.9)
    assert pod.due(101.0) == [Do.STARTUP]
    pod.answered(Do.STARTUP, True, 101.2)
    assert pod.due(101.2) == [Do.READINESS, Do.LIVENESS]
    pod.answered(Do.READINESS, True, 101.3)
    pod.answered(Do.LIVENESS, True, 101.3)
    assert (pod.ready, pod.ready_at) == (True, 101.3)
    assert pod.due(103.1) == []
    assert pod.due(103.2) == [Do.READINESS]


def test_a_probe_that_is_not_answered_is_not_asked_again() -> None:
    """A probe is asked again only after its answer, even if that takes long."""
    pod = unready("a")
    assert pod.due(0.0) == [Do.STARTUP]
    assert pod.due(5.0) == []


def test_readiness_is_lost_after_its_failures_in_a_row() -> None:
    """Two failures and a success are no three failures."""
    pod = ready("a")
    now = 0.0
    for ok in (False, False, True, False, False):
        now += 2.0
        assert Do.READINESS in pod.due(now)
        pod.answered(Do.READINESS, ok, now)
        assert pod.ready
    pod.due(now + 2.0)
    pod.answered(Do.READINESS, False, now + 2.0)
    assert not pod.ready
    assert pod.deleted_at is None


def test_a_pod_is_available_after_min_ready_seconds() -> None:
    """Ready is not yet available."""
    pod = ready("a", at=50.0)
    assert not pod.available(59.9, 10.0)
    assert pod.available(60.0, 10.0)


def test_pre_stop_sigterm_and_sigkill_come_in_this_order_within_the_grace() -> None:
    """The endpoint goes at once; SIGTERM after preStop; SIGKILL at the end of the grace, which preStop is part of."""
    pod = ready("a")
    pod.delete(100.0)
    assert not pod.serving
    assert Do.TERMINATE not in pod.due(104.9)
    assert pod.due(105.0) == [Do.TERMINATE]
    assert Do.KILL not in pod.due(129.9)
    assert Do.KILL in pod.due(130.0)
    assert Do.KILL not in pod.due(131.0)
    assert pod.killed
    pod.exited(131.1)
    assert pod.gone


def test_a_container_that_ends_in_time_is_not_killed() -> None:
    """The pod is gone with its container."""
    pod = ready("a")
    pod.delete(100.0)
    pod.due(105.0)
    pod.exited(112.0)
    assert pod.gone
    assert not pod.killed
    assert pod.due(200.0) == []


def test_a_pre_stop_that_uses_up_the_grace_leaves_two_seconds() -> None:
    """As the kubelet does: SIGTERM at the end of the grace, SIGKILL 2 s later."""
    pod = ready("a", replace(TEMPLATE, pre_stop_s=60.0))
    pod.delete(0.0)
    assert Do.TERMINATE not in pod.due(29.9)
    assert Do.TERMINATE in pod.due(30.0)
    assert Do.KILL not in pod.due(31.9)
    assert Do.KILL in pod.due(32.0)


def test_a_pod_that_never_ran_is_gone_at_once() -> None:
    """There is no container to stop."""
    pod = Pod("a", TEMPLATE, 0.0)
    pod.delete(0.0)
    assert pod.gone


def test_a_container_that_died_is_started_again_in_its_pod() -> None:
    """At once the first time, then after 10 s, 20 s, 40 s; not ready meanwhile."""
    pod = ready("a")
    waits = []
    now = 100.0
    for _ in range(4):
        pod.exited(now)
        assert not pod.ready
        wait = next(wait for wait in range(1_000) if Do.START in pod.due(now + wait))
        waits.append(wait)
        now += wait
    assert waits == [0, 10, 20, 40]


def test_a_failed_startup_restarts_the_container() -> None:
    """preStop and SIGTERM first; then a new container in the same pod."""
    pod = unready("a")
    for now in (0.0, 1.0, 2.0):
        assert pod.due(now) == [Do.STARTUP]
        pod.answered(Do.STARTUP, False, now)
    assert pod.due(7.0) == [Do.TERMINATE]
    pod.exited(8.0)
    assert pod.due(8.0) == [Do.START]
    assert pod.restarts == 1


def test_a_failed_liveness_restarts_the_container() -> None:
    """The pod stays; readiness is asked again."""
    pod = ready("a")
    pod.answered(Do.LIVENESS, False, 0.0)
    pod.due(5.0)
    pod.answered(Do.LIVENESS, False, 5.0)
    assert Do.TERMINATE in pod.due(10.0)
    pod.exited(11.0)
    assert not pod.ready
    assert pod.due(11.0) == [Do.START]


def test_an_answer_for_a_container_that_is_gone_counts_nothing() -> None:
    """The answer is about the container before."""
    pod = unready("a")
    pod.due(0.0)
    pod.exited(0.5)
    pod.due(0.5)
    pod.answered(Do.STARTUP, True, 0.6)
    assert pod.due(0.7) == [Do.STARTUP]
