"""The numbers and the environment that the simulator reads from the chart's rendered objects."""

import itertools

import helm_python as helm
import pytest
import yaml

from tests.kubernetes.api.kinds import CONFIG_MAP, DEPLOYMENT, SECRET, Json
from tests.kubernetes.api.store import Store
from tests.kubernetes.manifest import deployment, environment
from tests.kubernetes.upgrade.stage import CHART, KEYS, VALUES

NAMESPACE = "chat"
KINDS = {kind.name: kind for kind in (CONFIG_MAP, DEPLOYMENT, SECRET)}


@pytest.fixture(scope="module")
def store() -> Store:
    """Return the objects of a cluster in which the chart has been applied."""
    store = Store("1.34")
    data = {"jwt-secret": "c2VjcmV0", "redis-url": "cmVkaXM6Ly9yZWRpcw=="}
    store.create(SECRET, NAMESPACE, {"metadata": {"name": KEYS}, "data": data})
    with helm.Chart.load(CHART) as chart:
        rendered = chart.render(VALUES, name="maru", namespace=NAMESPACE)
        for body in itertools.chain.from_iterable(
            yaml.safe_load_all(text) for name, text in rendered.items() if name.endswith(".yaml")
        ):
            if body and body["kind"] in KINDS:
                store.apply(KINDS[body["kind"]], NAMESPACE, body["metadata"]["name"], body)
    return store


def test_the_numbers_are_those_of_the_chart(store: Store) -> None:
    """Strategy, waits and grace."""
    found = deployment(store, NAMESPACE, "maru")
    assert (found.replicas, found.surge, found.unavailable) == (2, 1, 0)
    assert (found.min_ready_s, found.progress_deadline_s) == (1, 30)
    assert (found.template.grace_s, found.template.pre_stop_s) == (17, 3)


def test_the_probes_ask_the_internal_port(store: Store) -> None:
    """By the name of the container's port; fields that a probe leaves out have Kubernetes' defaults."""
    template = deployment(store, NAMESPACE, "maru").template
    asked = {name: (probe.path, probe.port, probe.period_s) for name, probe in template.probes}
    assert asked == {
        "startup": ("/livez", "MARU_INTERNAL_PORT", 1),
        "readiness": ("/readyz", "MARU_INTERNAL_PORT", 1),
        "liveness": ("/livez", "MARU_INTERNAL_PORT", 10),
    }
    probe = template.probe("readiness")
    assert probe is not None
    assert (probe.delay_s, probe.successes) == (0, 1)


def test_the_environment_comes_from_the_config_map_and_the_secret(store: Store) -> None:
    """As the server will see it."""
    env = environment(store, NAMESPACE, deployment(store, NAMESPACE, "maru").template)
    assert env["MARU_DRAIN_TIMEOUT"] == "10"
    assert env["MARU_MESSAGE_LOG"] == "redis"
    assert (env["MARU_JWT_SECRET"], env["MARU_REDIS_URL"]) == ("secret", "redis://redis")


def test_the_same_template_is_the_same_revision(store: Store) -> None:
    """As with ReplicaSets: a change outside the template replaces no pod, a change inside replaces all."""
    before = deployment(store, NAMESPACE, "maru").template

    def more(body: Json) -> None:
        body["spec"]["replicas"] = 5

    def newer(body: Json) -> None:
        body["spec"]["template"]["spec"]["containers"][0]["image"] = "maru:next"

    store.patch(DEPLOYMENT, NAMESPACE, "maru", more)
    assert deployment(store, NAMESPACE, "maru").template == before
    store.patch(DEPLOYMENT, NAMESPACE, "maru", newer)
    assert deployment(store, NAMESPACE, "maru").template != before


@pytest.mark.parametrize(
    ("rolling", "expected"),
    [
        ({"maxSurge": "25%", "maxUnavailable": "25%"}, (1, 0)),
        ({"maxSurge": "50%", "maxUnavailable": "100%"}, (2, 3)),
        ({"maxSurge": 0, "maxUnavailable": "10%"}, (0, 1)),
        ({}, (1, 0)),
    ],
)
def test_shares_are_rounded_as_kubernetes_does(store: Store, rolling: Json, expected: tuple[int, int]) -> None:
    """Of three replicas: surge up, unavailable down, and never both 0."""

    def change(body: Json) -> None:
        body["spec"] |= {"replicas": 3, "strategy": {"type": "RollingUpdate", "rollingUpdate": rolling}}

    store.patch(DEPLOYMENT, NAMESPACE, "maru", change)
    found = deployment(store, NAMESPACE, "maru")
    assert (found.surge, found.unavailable) == expected


def test_another_strategy_is_not_simulated(store: Store) -> None:
    """The simulator refuses it, instead of simulating another strategy."""
    store.patch(DEPLOYMENT, NAMESPACE, "maru", lambda body: body["spec"].update(strategy={"type": "Recreate"}))
    with pytest.raises(ValueError, match="RollingUpdate only"):
        deployment(store, NAMESPACE, "maru")
