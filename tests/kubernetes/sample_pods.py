"""Pods and deployments as values, for the tests of the controller and of a pod."""

from dataclasses import replace

from tests.kubernetes.manifest import Deployment, Probe, Template
from tests.kubernetes.pod import Do, Pod

STARTUP = Probe("/livez", "MARU_INTERNAL_PORT", delay_s=0, period_s=1, timeout_s=1, failures=3, successes=1)
READINESS = replace(STARTUP, path="/readyz", period_s=2)
LIVENESS = replace(STARTUP, period_s=5, failures=2)

TEMPLATE = Template(
    id="old",
    grace_s=30,
    pre_stop_s=5,
    probes=(("startup", STARTUP), ("readiness", READINESS), ("liveness", LIVENESS)),
    env=(),
    env_from=(),
)
NEXT = replace(TEMPLATE, id="new")

DEPLOYMENT = Deployment(
    generation=1, replicas=3, surge=1, unavailable=0, min_ready_s=10, progress_deadline_s=60, template=NEXT
)


def ready(name: str, template: Template = TEMPLATE, at: float = 0.0) -> Pod:
    """Return a pod that has been ready since `at`."""
    pod = Pod(name, template, at)
    pod.due(at)
    for probe in (Do.STARTUP, Do.READINESS):
        assert probe in pod.due(at)
        pod.answered(probe, True, at)
    assert pod.ready
    return pod


def unready(name: str, template: Template = NEXT, at: float = 0.0) -> Pod:
    """Return a pod whose container runs, and is not ready."""
    pod = Pod(name, template, at)
    pod.due(at)
    return pod
