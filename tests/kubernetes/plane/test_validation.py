"""The real API server takes every object of the chart, strictly, and the pods under the strictest Pod Security."""

import pytest
import pytest_asyncio

from tests.chart.rendered import AUTH, CUSTOM, Object, Rendered, render
from tests.chart.test_matrix import AXES, CASES, Case
from tests.kubernetes.api.kinds import KINDS, Json
from tests.kubernetes.plane.client import Api, ApiError
from tests.kubernetes.plane.processes import ControlPlane

pytestmark = pytest.mark.asyncio(loop_scope="module")

NAMESPACE = "talk"

BY_KIND = {kind.name: kind for kind in KINDS}

STRICT = {"dryRun": "All", "fieldValidation": "Strict"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api(plane: ControlPlane) -> Api:
    """The API server, with the namespace and the priority of the rendered objects."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}}
    await plane.api.post("api/v1/namespaces", space)
    priority = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "high"}, "value": 1}
    await plane.api.post("apis/scheduling.k8s.io/v1/priorityclasses", priority)
    return plane.api


async def refusals(api: Api, rendered: Rendered) -> list[str]:
    """Ask the API server about every object, and about the pod that the Deployment would make."""
    found = []
    for body in (*rendered, pod_of(rendered)):
        if body["kind"] not in CUSTOM:
            kind = BY_KIND[body["kind"]]
            try:
                await api.post(f"{kind.root}/namespaces/{NAMESPACE}/{kind.plural}", body, **STRICT)
            except ApiError as error:
                found.append(f"{body['kind']} {body['metadata']['name']}: {error}")
    return found


def pod_of(rendered: Rendered) -> Object:
    """Return a pod of the Deployment. Its account is not made by a dry run, so it is the namespace's own."""
    spec = rendered.pod["spec"] | {"serviceAccountName": "default"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one-of-them"}, "spec": spec}


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(case.values()))
async def test_every_combination_is_taken(api: Api, case: Case) -> None:
    """Over the matrix of values, as in the test of the schemas."""
    assert await refusals(api, render(*(AXES[axis][choice] for axis, choice in case.items()))) == []


async def test_everything_at_once_is_taken(api: Api, everything: Json) -> None:
    """Also with each list and map in use."""
    assert await refusals(api, render(everything, namespace=NAMESPACE)) == []


@pytest.mark.parametrize(
    "rights",
    [
        {"runAsUser": 0, "runAsNonRoot": False},
        {"allowPrivilegeEscalation": True},
        {"capabilities": {"add": ["NET_RAW"]}},
    ],
    ids=["root", "escalation", "capabilities"],
)
async def test_a_pod_with_more_rights_is_refused(api: Api, rights: Json) -> None:
    """So the admission is at work. (The chart's own schema refuses such values before.)"""
    rendered = render(AUTH)
    rendered.container["securityContext"] |= rights
    assert any("violates PodSecurity" in refusal for refusal in await refusals(api, rendered))


async def test_an_unknown_field_is_refused(api: Api) -> None:
    """So the validation is strict."""
    rendered = render(AUTH)
    rendered.one("Deployment")["spec"]["colour"] = "green"
    assert any('unknown field "spec.colour"' in refusal for refusal in await refusals(api, rendered))
