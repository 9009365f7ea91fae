"""The decisions of the Deployment's controller, step by step."""

from dataclasses import replace

from tests.kubernetes.api.kinds import Json
from tests.kubernetes.controller import Plan, Progress, plan
from tests.kubernetes.pod import Do, Pod
from tests.kubernetes.sample_pods import DEPLOYMENT, NEXT, TEMPLATE, ready, unready

OLD = [ready(f"old-{number}") for number in range(3)]


def conditions(status: Json) -> dict[str, tuple[str, str]]:
    """Return the conditions by name."""
    return {found["type"]: (found["status"], found["reason"]) for found in status["conditions"]}


def test_the_first_pods_are_made_all_at_once() -> None:
    """An installation is not a rolling update."""
    assert plan(DEPLOYMENT, [], 0.0) == Plan(create=3)


def test_one_more_than_wanted_is_made_and_nobody_goes_before_it_is_available() -> None:
    """maxSurge 1, maxUnavailable 0: a ready pod counts after minReadySeconds."""
    assert plan(DEPLOYMENT, OLD, 100.0) == Plan(create=1)
    assert plan(DEPLOYMENT, [*OLD, unready("new")], 100.0) == Plan()
    new = ready("new", NEXT, at=100.0)
    assert plan(DEPLOYMENT, [*OLD, new], 109.0) == Plan()
    assert len(plan(DEPLOYMENT, [*OLD, new], 110.0).delete) == 1


def test_a_pod_on_its_way_out_makes_room_for_the_next() -> None:
    """It counts neither as present nor as old."""
    old = [ready(f"old-{number}") for number in range(3)]
    old[0].delete(100.0)
    assert plan(DEPLOYMENT, [*old, ready("new", NEXT)], 100.0) == Plan(create=1)


def test_max_unavailable_takes_old_ones_first() -> None:
    """maxSurge 0, maxUnavailable 2: two old pods go before a new pod is created."""
    wanted = replace(DEPLOYMENT, surge=0, unavailable=2)
    gone = plan(wanted, OLD, 100.0).delete
    assert len(gone) == 2
    assert plan(wanted, [pod for pod in OLD if pod not in gone], 100.0) == Plan(create=2)


def test_broken_old_pods_go_first() -> None:
    """A pod that serves nobody is no loss."""
    broken = unready("old-broken", TEMPLATE)
    pods = [*OLD[:2], broken, ready("new", NEXT)]
    assert plan(DEPLOYMENT, pods, 100.0).delete == (broken,)


def test_a_rollback_gives_up_the_version_that_never_became_ready() -> None:
    """The old pods are wanted again: they stay, and the new pod goes."""
    broken = unready("new")
    wanted = replace(DEPLOYMENT, template=TEMPLATE)
    assert plan(wanted, [*OLD, broken], 100.0) == Plan(delete=(broken,))


def test_fewer_replicas_give_up_the_latest() -> None:
    """Scaling down takes the unready, then those that became ready last."""
    late, waiting = ready("late", at=50.0), unready("waiting", TEMPLATE)
    wanted = replace(DEPLOYMENT, template=TEMPLATE, replicas=2)
    assert plan(wanted, [OLD[0], late, OLD[1], waiting], 100.0) == Plan(delete=(waiting, late))


def test_a_rolling_update_always_has_enough_that_serve() -> None:
    """From three old pods to three new pods: never fewer than three available, never more than four, in three steps."""
    pods: list[Pod] = [ready(f"old-{number}") for number in range(3)]
    now, made = 100.0, 0
    while any(pod.template == TEMPLATE for pod in pods):
        step = plan(DEPLOYMENT, pods, now)
        for pod in step.delete:
            pod.delete(now)
        for _ in range(step.create):
            made += 1
            pods.append(ready(f"new-{made}", NEXT, at=now))
        live = [pod for pod in pods if pod.deleted_at is None]
        assert len(live) <= 4
        assert sum(pod.available(now, DEPLOYMENT.min_ready_s) for pod in live) >= 3
        pods = live
        now += 1.0
    assert made == 3
    assert now - 100.0 < 40.0


def test_a_rollout_without_progress_is_reported_after_its_deadline() -> None:
    """Helm waits for that; the old pods stay available."""
    progress = Progress()
    pods = [*OLD, unready("new")]
    assert conditions(progress.status(DEPLOYMENT, pods, 100.0))["Progressing"] == ("True", "ReplicaSetUpdated")
    status = conditions(progress.status(DEPLOYMENT, pods, 161.0))
    assert status["Progressing"] == ("False", "ProgressDeadlineExceeded")
    assert status["Available"] == ("True", "MinimumReplicasAvailable")


def test_each_step_forward_moves_the_deadline() -> None:
    """A new pod that becomes ready, and then available, is progress; a new generation starts the wait again."""
    progress = Progress()
    new = unready("new")
    progress.status(DEPLOYMENT, [*OLD, new], 100.0)
    new.due(150.0)
    new.answered(Do.STARTUP, True, 150.0)
    new.due(150.0)
    new.answered(Do.READINESS, True, 150.0)
    progress.status(DEPLOYMENT, [*OLD, new], 150.0)
    for now, moving in ((209.0, "True"), (269.0, "True"), (270.0, "False")):
        assert conditions(progress.status(DEPLOYMENT, [*OLD, new], now))["Progressing"][0] == moving
    again = replace(DEPLOYMENT, generation=2)
    assert conditions(progress.status(again, [*OLD, new], 271.0))["Progressing"][0] == "True"


def test_a_finished_rollout_is_complete() -> None:
    """All new, all available, and as many as wanted."""
    pods = [ready(f"new-{number}", NEXT) for number in range(3)]
    status = Progress().status(DEPLOYMENT, pods, 1_000.0)
    assert conditions(status)["Progressing"] == ("True", "NewReplicaSetAvailable")
    assert (status["updatedReplicas"], status["availableReplicas"], status["unavailableReplicas"]) == (3, 3, 0)
