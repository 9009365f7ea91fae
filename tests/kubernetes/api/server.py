"""A Kubernetes API server for Helm: discovery, objects and watches over HTTP on 127.0.0.1. It runs no pods."""

import contextlib
import json
from collections.abc import Awaitable, Callable
from typing import Any, Self

import helm_python as helm
import yaml
from aiohttp import web

from tests.kubernetes.api import protobuf
from tests.kubernetes.api.kinds import BY_PATH, Json, Kind, groups, openapi, resources, roots
from tests.kubernetes.api.store import Refused, Store

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

APPLY = "application/apply-patch+yaml"

NAMESPACE = "chat"

KUBECONFIG = """\
apiVersion: v1
kind: Config
clusters: [{{name: fake, cluster: {{server: "{url}"}}}}]
users: [{{name: nobody, user: {{}}}}]
contexts: [{{name: fake, context: {{cluster: fake, user: nobody, namespace: {namespace}}}}}]
current-context: fake
"""


class FakeApiServer:
    """Listens on a free port of 127.0.0.1. Use as an async context manager.

    `store` holds the objects; tests read it, and act as the controllers in it. `requests` are method and path of every
    request so far.
    """

    def __init__(self, version: str = "1.34") -> None:
        self.store = Store(version)
        self.requests: list[str] = []
        self._version = version
        app = web.Application(middlewares=[self._errors])
        app.router.add_get("/version", self._tell_version)
        app.router.add_get("/api", self._core)
        app.router.add_get("/apis", self._groups)
        app.router.add_get("/openapi/v3", self._specs)
        app.router.add_get("/openapi/v3/{root:.+}", self._spec)
        for root in roots():
            app.router.add_get(f"/{root}", self._resources)
            for place in (f"/{root}", f"/{root}/namespaces/{{namespace}}"):
                app.router.add_get(f"{place}/{{plural}}", self._list)
                app.router.add_post(f"{place}/{{plural}}", self._create)
                app.router.add_get(f"{place}/{{plural}}/{{name}}", self._get)
                app.router.add_put(f"{place}/{{plural}}/{{name}}", self._put)
                app.router.add_patch(f"{place}/{{plural}}/{{name}}", self._patch)
                app.router.add_delete(f"{place}/{{plural}}/{{name}}", self._delete)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        self._url = ""

    @property
    def url(self) -> str:
        """The address for Helm."""
        return self._url

    def access(self) -> helm.Config:
        """Return Helm's way in."""
        return helm.Config(
            kubeconfig_content=KUBECONFIG.format(url=self._url, namespace=NAMESPACE), namespace=NAMESPACE
        )

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self._url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    # Discovery

    async def _tell_version(self, _: web.Request) -> web.Response:
        major, minor = self._version.split(".")
        return web.json_response({"major": major, "minor": minor, "gitVersion": f"v{self._version}.0"})

    async def _core(self, _: web.Request) -> web.Response:
        return web.json_response({"kind": "APIVersions", "versions": ["v1"]})

    async def _groups(self, _: web.Request) -> web.Response:
        return web.json_response({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups()})

    async def _resources(self, request: web.Request) -> web.Response:
        root = request.path.strip("/")
        version = root.partition("/")[2]
        found = resources(roots()[root])
        return web.json_response({"kind": "APIResourceList", "groupVersion": version, "resources": found})

    async def _specs(self, _: web.Request) -> web.Response:
        return web.json_response({"paths": {root: {"serverRelativeURL": f"/openapi/v3/{root}"} for root in roots()}})

    async def _spec(self, request: web.Request) -> web.Response:
        root = request.match_info["root"]
        return web.json_response(openapi(root, roots()[root]))

    # Objects

    async def _get(self, request: web.Request) -> web.Response:
        return web.json_response(self.store.get(*_place(request), request.match_info["name"]))

    async def _list(self, request: web.Request) -> web.StreamResponse:
        kind, _ = _place(request)
        namespace = request.match_info.get("namespace")
        if request.query.get("watch") in {"1", "true"}:
            return await self._watch(request, kind)
        found = [body for body in self.store.list(kind, namespace) if _wanted(request, body)]
        metadata = {"resourceVersion": self.store.revision}
        listed = {"kind": f"{kind.name}List", "apiVersion": kind.api_version, "metadata": metadata, "items": found}
        return web.json_response(listed)

    async def _watch(self, request: web.Request, kind: Kind) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            initial = request.query.get("sendInitialEvents") == "true"
            async for change in self.store.watch(kind, initial=initial):
                if change.type == "BOOKMARK" or _wanted(request, change.object):
                    line = json.dumps({"type": change.type, "object": change.object})
                    await response.write(line.encode() + b"\n")
        return response

    async def _create(self, request: web.Request) -> web.Response:
        return web.json_response(self.store.create(*_place(request), await _body(request)), status=201)

    async def _put(self, request: web.Request) -> web.Response:
        return web.json_response(self.store.put(*_place(request), request.match_info["name"], await _body(request)))

    async def _patch(self, request: web.Request) -> web.Response:
        if request.content_type != APPLY:
            raise Refused(415, "UnsupportedMediaType", f"only {APPLY} is taken, not {request.content_type}")
        return web.json_response(self.store.apply(*_place(request), request.match_info["name"], await _body(request)))

    async def _delete(self, request: web.Request) -> web.Response:
        return web.json_response(self.store.delete(*_place(request), request.match_info["name"]))

    @web.middleware
    async def _errors(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer refusals in Kubernetes' own shape."""
        self.requests.append(f"{request.method} {request.path_qs}")
        try:
            return await handler(request)
        except Refused as refused:
            return _failure(refused.status, refused.reason, refused.message)
        except web.HTTPNotFound:
            return _failure(404, "NotFound", f"the fake API server does not know {request.path}")


def _place(request: web.Request) -> tuple[Kind, str]:
    """Return the kind and the namespace that a path names. Raises `Refused`."""
    parts = request.path.strip("/").split("/")
    root = "/".join(parts[:2] if parts[0] == "api" else parts[:3])
    plural = request.match_info["plural"]
    kind = BY_PATH.get((root, plural))
    if kind is None:
        raise Refused(404, "NotFound", f"the fake API server knows no {plural} in {root}")
    return kind, request.match_info.get("namespace", "")


async def _body(request: web.Request) -> Json:
    raw = await request.read()
    if request.content_type == protobuf.CONTENT_TYPE:
        return protobuf.secret(raw)
    body: Json = yaml.safe_load(raw)
    return body


def _wanted(request: web.Request, body: Json) -> bool:
    """Say whether an object fits the selectors: labels as `a=b,c=d`, fields as `metadata.name=x`."""
    metadata: dict[str, Any] = body["metadata"]
    namespace = request.match_info.get("namespace")
    if namespace not in {None, metadata.get("namespace")}:
        return False
    labels = metadata.get("labels", {})
    for pair in filter(None, request.query.get("labelSelector", "").split(",")):
        name, _, value = pair.partition("=")
        if labels.get(name) != value.lstrip("="):
            return False
    name = request.query.get("fieldSelector", "").partition("metadata.name=")[2]
    return not name or metadata["name"] == name


def _failure(status: int, reason: str, message: str) -> web.Response:
    said = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
    return web.json_response({**said, "message": message, "reason": reason, "code": status}, status=status)
