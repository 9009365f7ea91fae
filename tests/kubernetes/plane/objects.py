"""What a kubelet reads of the objects that a pod names, and writes about the pod."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from tests.kubernetes.api.kinds import CONFIG_MAP, SECRET, Json, Kind
from tests.kubernetes.plane.client import Api
from tests.kubernetes.pod import Pod

TEMPORARY = "/tmp"  # a mount of every pod, which the servers' processes share


class Referenced:
    """The ConfigMaps and Secrets of a pod, as of now."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str, str], Json] = {}

    @classmethod
    async def of(cls, api: Api, body: Json) -> "Referenced":
        """Read them. Raises `ApiError` if one is missing."""
        found, namespace = cls(), body["metadata"]["namespace"]
        for kind, name in set(_references(body["spec"]["containers"][0])):
            path = f"{kind.root}/namespaces/{namespace}/{kind.plural}/{name}"
            found._found[kind.name, namespace, name] = await api.get(path)
        return found

    def get(self, kind: Kind, namespace: str, name: str) -> Json:
        """Return an object."""
        return self._found[kind.name, namespace, name]


def _references(container: Json) -> Iterator[tuple[Kind, str]]:
    for source in container.get("envFrom", ()):
        for key, kind in (("configMapRef", CONFIG_MAP), ("secretRef", SECRET)):
            if key in source:
                yield kind, source[key]["name"]
    for variable in container.get("env", ()):
        for key, kind in (("configMapKeyRef", CONFIG_MAP), ("secretKeyRef", SECRET)):
            if key in variable.get("valueFrom", {}):
                yield kind, variable["valueFrom"][key]["name"]


def mounted(env: dict[str, str], body: Json, volumes: Path, own: Path) -> dict[str, str]:
    """Let variables that name a file in a mount name it in a folder of this machine: a claim's folder in `volumes`,
    which outlives the pod, or one in `own`."""
    claims = {
        volume["name"]: volume["persistentVolumeClaim"]["claimName"]
        for volume in body["spec"].get("volumes", ())
        if "persistentVolumeClaim" in volume
    }
    found = dict(env)
    for mount in body["spec"]["containers"][0].get("volumeMounts", ()):
        name, path = mount["name"], mount["mountPath"]
        if path == TEMPORARY:
            continue
        folder = volumes / claims[name] if name in claims else own / name
        folder.mkdir(parents=True, exist_ok=True)
        for variable, value in env.items():
            if value.startswith(f"{path}/"):
                found[variable] = str(folder / value.removeprefix(f"{path}/"))
    return found


def status(pod: Pod, body: Json, ip: str, host: str, born: str, ready_since: str) -> Json:
    """Return the status of a pod, as its kubelet reports it."""
    (container,) = body["spec"]["containers"]
    since = {"Ready": ready_since, "ContainersReady": ready_since}
    yes = {"PodScheduled": True, "Initialized": True, "ContainersReady": pod.ready, "Ready": pod.ready}
    state: Json = {"running": {"startedAt": born}}
    if not pod.running:
        state = {"waiting": {"reason": "CrashLoopBackOff" if pod.restarts else "ContainerCreating"}}
    return {
        "phase": "Running" if pod.running or pod.restarts else "Pending",
        "hostIP": host,
        "podIP": ip,
        "podIPs": [{"ip": ip}],
        "startTime": born,
        "conditions": [
            {"type": name, "status": str(holds), "lastTransitionTime": since.get(name, born)}
            for name, holds in yes.items()
        ],
        "containerStatuses": [
            {
                "name": container["name"],
                "image": container["image"],
                "imageID": "",
                "ready": pod.ready,
                "started": pod.started,
                "restartCount": pod.restarts,
                "state": state,
            }
        ],
    }


def node(name: str, host: str) -> Json:
    """Return a node without pods."""
    room = {"cpu": "32", "memory": "64Gi", "pods": "110", "ephemeral-storage": "100Gi"}
    now = rfc3339()
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"},
        },
        "status": {
            "capacity": room,
            "allocatable": room,
            "addresses": [{"type": "InternalIP", "address": host}, {"type": "Hostname", "address": name}],
            "conditions": [
                {
                    "type": "Ready",
                    "status": "True",
                    "reason": "KubeletReady",
                    "message": "ready",
                    "lastHeartbeatTime": now,
                    "lastTransitionTime": now,
                }
            ],
        },
    }


def lease(name: str) -> Json:
    """Return the lease of a node, renewed now."""
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name, "namespace": "kube-node-lease"},
        "spec": {
            "holderIdentity": name,
            "leaseDurationSeconds": 5,
            "renewTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        },
    }


def rfc3339() -> str:
    """Return the present second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
