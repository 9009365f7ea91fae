"""The objects of a simulated cluster, which an API server writes and watches."""

import asyncio
import base64
import copy
import itertools
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import kubernetes_validate  # type: ignore[import-untyped]

from tests.kubernetes.api.kinds import Json, Kind

WATCH_LIMIT = 1_000
"""Changes that a watcher may be behind; a slower watcher is cut off, as by etcd."""

KEPT = ("creationTimestamp", "generation", "resourceVersion", "uid")
"""Metadata that the server sets, and a client can't."""

Key = tuple[str, str, str, str]
"""Group and version, plural, namespace, name."""


class Refused(Exception):
    """The answer is an error: an HTTP status, Kubernetes' reason, and a text for people."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status, self.reason, self.message = status, reason, message


@dataclass(frozen=True, slots=True)
class Change:
    """A change that watchers get; `type` is ADDED, MODIFIED, DELETED or BOOKMARK."""

    type: str
    kind: Kind
    object: Json


class Store:
    """All objects, each of them checked against Kubernetes' strict schema of `version` when it is written.

    A single client applies everything, so an apply replaces all fields except those of the server: metadata and status.
    """

    def __init__(self, version: str) -> None:
        self._version = version  # of Kubernetes, for the schemas
        self._objects: dict[Key, Json] = {}
        self._clock = itertools.count(1)  # gives resource versions
        self._watchers: set[asyncio.Queue[Change]] = set()  # changes that a watcher has not read yet

    def get(self, kind: Kind, namespace: str, name: str) -> Json:
        """Return an object. Raises `Refused`."""
        try:
            return copy.deepcopy(self._objects[_key(kind, namespace, name)])
        except KeyError:
            raise Refused(404, "NotFound", f'{kind.plural} "{name}" not found') from None

    def list(self, kind: Kind, namespace: str | None = None) -> list[Json]:
        """Return all objects of a kind, in one namespace or in all."""
        return [
            copy.deepcopy(found)
            for (root, plural, place, _), found in sorted(self._objects.items())
            if (root, plural) == (kind.root, kind.plural) and namespace in {None, place}
        ]

    def create(self, kind: Kind, namespace: str, body: Json) -> Json:
        """Write a new object. Raises `Refused` if it exists."""
        name = body["metadata"]["name"]
        if _key(kind, namespace, name) in self._objects:
            raise Refused(409, "AlreadyExists", f'{kind.plural} "{name}" already exists')
        return self._write(kind, namespace, name, body, None)

    def put(self, kind: Kind, namespace: str, name: str, body: Json) -> Json:
        """Replace an object. Raises `Refused`."""
        return self._write(kind, namespace, name, body, self.get(kind, namespace, name))

    def apply(self, kind: Kind, namespace: str, name: str, body: Json) -> Json:
        """Create or replace an object, as server-side apply does."""
        return self._write(kind, namespace, name, body, self._objects.get(_key(kind, namespace, name)))

    def patch(self, kind: Kind, namespace: str, name: str, change: Callable[[Json], None]) -> Json:
        """Change an object in place. Raises `Refused`."""
        body = self.get(kind, namespace, name)
        change(body)
        return self._write(kind, namespace, name, body, self._objects[_key(kind, namespace, name)])

    def report(self, kind: Kind, namespace: str, name: str, status: Json) -> None:
        """Write an object's status, as its controller does. An equal status is no change."""
        known = self._objects[_key(kind, namespace, name)]
        if known.get("status") != status:
            known["status"] = copy.deepcopy(status)
            known["metadata"]["resourceVersion"] = str(next(self._clock))
            self._tell("MODIFIED", kind, known)

    def delete(self, kind: Kind, namespace: str, name: str) -> Json:
        """Remove an object. Raises `Refused`."""
        found = self.get(kind, namespace, name)
        del self._objects[_key(kind, namespace, name)]
        self._tell("DELETED", kind, found)
        return found

    @property
    def revision(self) -> str:
        """The revision of the present state, for a list."""
        return str(next(self._clock))

    async def watch(self, kind: Kind, *, initial: bool) -> AsyncIterator[Change]:
        """Yield changes of a kind from now on; with `initial`, first the present objects and a bookmark (KEP-3157).
        Ends if the watcher is too slow."""
        changes: asyncio.Queue[Change] = asyncio.Queue(WATCH_LIMIT)
        self._watchers.add(changes)
        try:
            if initial:
                for body in self.list(kind):
                    yield Change("ADDED", kind, body)
                yield self._bookmark(kind)
            while not changes.full():
                change = await changes.get()
                if change.kind == kind:
                    yield change
        finally:
            self._watchers.discard(changes)

    def _bookmark(self, kind: Kind) -> Change:
        metadata = {"resourceVersion": self.revision, "annotations": {"k8s.io/initial-events-end": "true"}}
        return Change("BOOKMARK", kind, {"apiVersion": kind.api_version, "kind": kind.name, "metadata": metadata})

    def _write(self, kind: Kind, namespace: str, name: str, body: Json, known: Json | None) -> Json:
        body = copy.deepcopy(body)
        body |= {"apiVersion": kind.api_version, "kind": kind.name}
        if kind.builtin:
            self._check(body)
        for key, value in body.pop("stringData", {}).items():  # write-only: it is read as data
            body.setdefault("data", {})[key] = base64.b64encode(value.encode()).decode()
        metadata = body["metadata"]
        metadata["name"] = name
        if kind.namespaced:
            metadata["namespace"] = namespace
        metadata.pop("managedFields", None)
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        given: Json = {"uid": str(uuid.uuid4()), "creationTimestamp": now, "generation": 0}
        if known is not None:
            given = {field: known["metadata"][field] for field in KEPT}
            body["status"] = known.get("status", {})
        if known is None or known.get("spec") != body.get("spec"):
            given["generation"] += 1
        metadata.update(given, resourceVersion=str(next(self._clock)))
        self._objects[_key(kind, namespace, name)] = body
        self._tell("ADDED" if known is None else "MODIFIED", kind, body)
        return copy.deepcopy(body)

    def _check(self, body: Json) -> None:
        stripped = {field: value for field, value in body.items() if field != "status"}
        try:
            kubernetes_validate.validate(stripped, self._version, strict=True)
        except kubernetes_validate.ValidationError as error:
            raise Refused(422, "Invalid", str(error)) from error

    def _tell(self, what: str, kind: Kind, body: Json) -> None:
        for changes in self._watchers:
            if not changes.full():
                changes.put_nowait(Change(what, kind, copy.deepcopy(body)))


def _key(kind: Kind, namespace: str, name: str) -> Key:
    return kind.root, kind.plural, namespace if kind.namespaced else "", name
