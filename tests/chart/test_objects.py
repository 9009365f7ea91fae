"""What each object says, with the defaults and with everything set: the promises of a deploy that nobody notices."""

from typing import Any

import pytest

from server.settings.model import VERSION
from tests.chart.rendered import AUTH, CHART, REDIS, Object, render


def _spec(found: Object) -> Any:
    return found["spec"]


def test_a_replica_is_replaced_by_one_more_never_by_one_fewer() -> None:
    """The new one serves, and has for a while, before an old one is told to go."""
    spec = _spec(render(AUTH, REDIS, {"replicaCount": 3}).one("Deployment"))
    assert spec["replicas"] == 3
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    assert spec["revisionHistoryLimit"] == 5


def test_replicas_go_one_by_one() -> None:
    """A new one has to be ready for as long as an old one takes to go: no two drain at once, however many there are."""
    for drain, seconds in (({}, 25), ({"preStopSleepSeconds": 0, "timeoutSeconds": 12}, 12)):
        rendered = render(AUTH, REDIS, {"replicaCount": 9, "drain": drain})
        assert _spec(rendered.one("Deployment"))["minReadySeconds"] == seconds
    assert _spec(render(AUTH, REDIS, {"minReadySeconds": 3}).one("Deployment"))["minReadySeconds"] == 3
    assert _spec(render(AUTH).one("Deployment"))["minReadySeconds"] == 0, "a replica that is alone has nobody behind it"


def test_an_embedded_log_has_one_server_at_a_time() -> None:
    """Without Redis the old replica ends before the new one starts."""
    assert _spec(render(AUTH).one("Deployment"))["strategy"] == {"type": "Recreate"}


def test_a_replica_stops_in_order() -> None:
    """It leaves the Service, then drains, and is killed by nobody: sleep + drain + margin fill the grace period."""
    rendered = render(AUTH, REDIS)
    assert rendered.container["lifecycle"] == {"preStop": {"sleep": {"seconds": 5}}}
    assert rendered.one("ConfigMap")["data"]["MARU_DRAIN_TIMEOUT"] == "20"
    assert rendered.pod["spec"]["terminationGracePeriodSeconds"] == 30
    assert "lifecycle" not in render(AUTH, REDIS, {"drain": {"preStopSleepSeconds": 0}}).container


def test_a_replica_that_is_alone_stops_at_once() -> None:
    """Without Redis there is nobody to move clients to: every second of a drain would be one that they wait."""
    rendered = render(AUTH)
    assert "lifecycle" not in rendered.container
    assert rendered.one("ConfigMap")["data"]["MARU_DRAIN_TIMEOUT"] == "2"
    longer = render(AUTH, {"drain": {"preStopSleepSeconds": 1, "timeoutSeconds": 4}})
    assert longer.container["lifecycle"] == {"preStop": {"sleep": {"seconds": 1}}}
    assert longer.one("ConfigMap")["data"]["MARU_DRAIN_TIMEOUT"] == "4"


def test_probes_ask_the_internal_port() -> None:
    """Only readiness asks whether it wants traffic: none of the others restarts a replica because Redis is away."""
    container = render(AUTH).container
    asked = {name: container[name]["httpGet"] for name in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert asked == {
        "startupProbe": {"path": "/livez", "port": "internal"},
        "readinessProbe": {"path": "/readyz", "port": "internal"},
        "livenessProbe": {"path": "/livez", "port": "internal"},
    }
    assert {port["name"]: port["containerPort"] for port in container["ports"]} == {"http": 8080, "internal": 9090}
    timing = {"periodSeconds", "timeoutSeconds", "failureThreshold"}
    assert all(timing <= container[name].keys() for name in asked)


@pytest.mark.parametrize("kind", ["server", "test"])
def test_pods_meet_the_restricted_standard(kind: str, everything: dict[str, Any]) -> None:
    """Not root, no capability, no escalation, a seccomp profile, a root that can't be written to, no token."""
    rendered = render(everything)
    spec = rendered.pod["spec"] if kind == "server" else _spec(rendered.one("Pod"))
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    assert spec["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 10001,
        "runAsGroup": 10001,
        "fsGroup": 10001,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    for container in spec["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "runAsUser": 10001,
            "runAsGroup": 10001,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        }
    assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
    assert not [volume for volume in spec.get("volumes", []) if "hostPath" in volume]


def test_a_cluster_may_choose_the_ids() -> None:
    """Ids that are set to null are left out, as OpenShift wants it; the rest stays."""
    null = {"runAsUser": None, "runAsGroup": None}
    rendered = render(AUTH, {"podSecurityContext": null | {"fsGroup": None}, "securityContext": null})
    assert not {"runAsUser", "runAsGroup", "fsGroup"} & rendered.pod["spec"]["securityContext"].keys()
    assert not {"runAsUser", "runAsGroup"} & rendered.container["securityContext"].keys()
    assert rendered.pod["spec"]["securityContext"]["runAsNonRoot"] is True


def test_the_only_places_to_write_are_small_or_a_claim() -> None:
    """`/tmp` is bounded; `/data` is the claim without Redis, and nothing to speak of with it."""
    volumes = {volume["name"]: volume for volume in render(AUTH).pod["spec"]["volumes"]}
    assert volumes["tmp"]["emptyDir"] == {"sizeLimit": "64Mi"}
    assert volumes["data"]["persistentVolumeClaim"] == {"claimName": "chat-maru"}
    volumes = {volume["name"]: volume for volume in render(AUTH, REDIS).pod["spec"]["volumes"]}
    assert volumes["data"]["emptyDir"] == {"sizeLimit": "1Mi"}


def test_messages_outlive_the_release() -> None:
    """The claim is kept by `helm uninstall`, unless that is switched off."""
    claim = render(AUTH).one("PersistentVolumeClaim")
    assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert _spec(claim) == {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "8Gi"}}}
    claim = render(AUTH, {"persistence": {"retain": False, "storageClass": "fast"}}).one("PersistentVolumeClaim")
    assert "annotations" not in claim["metadata"]
    assert _spec(claim)["storageClassName"] == "fast"
    assert render(AUTH, REDIS).of("PersistentVolumeClaim") == []


def test_new_settings_are_new_pods_and_nothing_else_is() -> None:
    """A changed setting or secret changes the pods; a new version of the chart, a label or a size does not."""

    def pod(*values: Any) -> Object:
        return render({"auth": {"jwtSecret": "s" * 32}}, REDIS, *values).pod

    assert pod({"config": {"logLevel": "debug"}}) != pod()
    assert pod({"auth": {"jwtSecret": "t" * 32}}) != pod()
    assert pod({"replicaCount": 5, "service": {"port": 80}, "ingress": {"enabled": True}}) == pod()
    labels = {"app.kubernetes.io/name", "app.kubernetes.io/instance", "app.kubernetes.io/component"}
    assert pod()["metadata"]["labels"].keys() == labels


def test_selectors_never_change(everything: dict[str, Any]) -> None:
    """No label of a user's is part of a selector, which Kubernetes lets nobody change; nor can one replace ours."""
    rendered = render(everything, {"nameOverride": ""})
    ours = {
        "app.kubernetes.io/name": "maru",
        "app.kubernetes.io/instance": "chat",
        "app.kubernetes.io/component": "server",
    }
    assert _spec(rendered.one("Deployment"))["selector"]["matchLabels"] == ours
    assert rendered.pod["metadata"]["labels"] == ours | {"team": "other"}
    assert rendered.pod["metadata"]["annotations"]["checksum/config"] != "mine"


def test_replicas_spread() -> None:
    """Over nodes and zones, counting only those of the same version."""
    hosts, zones = render(AUTH).pod["spec"]["topologySpreadConstraints"]
    assert (hosts["topologyKey"], zones["topologyKey"]) == ("kubernetes.io/hostname", "topology.kubernetes.io/zone")
    assert {hosts["whenUnsatisfiable"], zones["whenUnsatisfiable"]} == {"ScheduleAnyway"}
    assert hosts["matchLabelKeys"] == ["pod-template-hash"]


def test_the_services() -> None:
    """Clients see 8080 alone; the internal port is headless, and only it is marked for Prometheus."""
    rendered = render(AUTH)
    public, internal = rendered.one("Service", "chat-maru"), rendered.one("Service", "chat-maru-internal")
    assert [(port["port"], port["targetPort"]) for port in _spec(public)["ports"]] == [(8080, "http")]
    assert _spec(public)["type"] == "ClusterIP"
    assert [(port["port"], port["targetPort"]) for port in _spec(internal)["ports"]] == [(9090, "internal")]
    assert _spec(internal)["clusterIP"] == "None"
    assert _spec(internal)["publishNotReadyAddresses"] is True, "nobody would see the metrics of a drain"
    assert "publishNotReadyAddresses" not in _spec(public)
    assert "maru/port" not in public["metadata"]["labels"]


def test_the_service_of_a_load_balancer(everything: dict[str, Any]) -> None:
    """What a load balancer is told, and not told where there is none."""
    spec = _spec(render(everything).one("Service", "team-chat"))
    assert spec["externalTrafficPolicy"] == "Local"
    assert spec["loadBalancerSourceRanges"] == ["192.0.2.0/24"]
    assert spec["loadBalancerClass"] == "example.com/lb"
    assert spec["ports"][0]["appProtocol"] == "kubernetes.io/ws"
    plain = _spec(render(everything, {"service": {"type": "ClusterIP", "nodePort": 30080}}).one("Service", "team-chat"))
    assert not {"externalTrafficPolicy", "loadBalancerSourceRanges", "loadBalancerClass"} & plain.keys()
    assert "nodePort" not in plain["ports"][0]


def test_the_ingress(everything: dict[str, Any]) -> None:
    """The two public paths of each host, TLS and annotations as given, and no controller's annotation of our own."""
    ingress = render(everything).one("Ingress")
    assert ingress["metadata"]["annotations"] == {"example.com/affinity": "cookie"}
    assert _spec(ingress)["ingressClassName"] == "nginx"
    assert [rule["host"] for rule in _spec(ingress)["rules"]] == ["chat.example.com", "*.chat.example.com"]
    paths = [(path["path"], path["pathType"]) for path in _spec(ingress)["rules"][0]["http"]["paths"]]
    assert paths == [("/socket.io/", "Prefix"), ("/session", "Prefix")]
    assert _spec(ingress)["tls"] == [{"secretName": "chat-tls", "hosts": ["chat.example.com"]}]
    anybody = render(AUTH, {"ingress": {"enabled": True}}).one("Ingress")
    assert "annotations" not in anybody["metadata"]
    assert [rule.get("host") for rule in _spec(anybody)["rules"]] == [None]


def test_the_route(everything: dict[str, Any]) -> None:
    """A route of the Gateway API: parents, hosts, both paths, one backend, and what the rule is given besides."""
    route = render(everything).one("HTTPRoute")
    assert route["apiVersion"] == "gateway.networking.k8s.io/v1"
    assert _spec(route) == {
        "parentRefs": [{"name": "public", "namespace": "gateways", "sectionName": "https"}],
        "hostnames": ["chat.example.com"],
        "rules": [
            {
                "matches": [
                    {"path": {"type": "PathPrefix", "value": "/socket.io"}},
                    {"path": {"type": "PathPrefix", "value": "/session"}},
                ],
                "filters": [{"type": "ResponseHeaderModifier", "responseHeaderModifier": {"remove": ["server"]}}],
                "timeouts": {"request": "0s"},
                "sessionPersistence": {"type": "Cookie", "sessionName": "maru_replica"},
                "backendRefs": [{"name": "team-chat", "port": 80}],
            }
        ],
    }


def test_scaling_is_slow_to_go_down(everything: dict[str, Any]) -> None:
    """By CPU and by connections; going down takes one replica in three minutes, after ten quiet ones."""
    rendered = render(everything)
    spec = _spec(rendered.one("HorizontalPodAutoscaler"))
    assert "replicas" not in _spec(rendered.one("Deployment")), "each helm upgrade would undo the autoscaler"
    assert (spec["minReplicas"], spec["maxReplicas"]) == (3, 30)
    cpu, connections = spec["metrics"]
    assert cpu["resource"] == {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}
    assert connections["pods"] == {
        "metric": {"name": "maru_connections"},
        "target": {"type": "AverageValue", "averageValue": "1500000"},
    }
    down = spec["behavior"]["scaleDown"]
    assert down["stabilizationWindowSeconds"] == 600
    assert down["policies"] == [{"type": "Pods", "value": 1, "periodSeconds": 180}]
    longest = _spec(render(AUTH).one("Deployment"))["template"]["spec"]["terminationGracePeriodSeconds"]
    assert down["policies"][0]["periodSeconds"] > longest, "two replicas would drain at once"


def test_scaling_by_connections_alone() -> None:
    """A target of 0 is no target."""
    values = {"autoscaling": {"enabled": True, "targetCPU": 0, "targetConnections": 4000}}
    (metric,) = _spec(render(AUTH, REDIS, values).one("HorizontalPodAutoscaler"))["metrics"]
    assert metric["type"] == "Pods"


def test_nodes_are_drained_one_replica_at_a_time() -> None:
    """A budget that lets one go: it spares the others, and holds no node back."""
    spec = _spec(render(AUTH).one("PodDisruptionBudget"))
    assert (spec["maxUnavailable"], spec["unhealthyPodEvictionPolicy"]) == (1, "AlwaysAllow")


def test_the_network_policy(everything: dict[str, Any]) -> None:
    """There is one by default, with the internal port closed and egress to DNS and Redis alone. Who may come to either
    port is who was named, and `helm test`."""
    for values, ports in ((AUTH, [[53, 53]]), ({**AUTH, **REDIS}, [[53, 53], [6379, 26379]])):
        spec = _spec(render(values).one("NetworkPolicy"))
        assert spec["policyTypes"] == ["Ingress", "Egress"]
        assert spec["ingress"] == [{"ports": [{"port": "http", "protocol": "TCP"}]}]
        assert [[port["port"] for port in rule["ports"]] for rule in spec["egress"]] == ports
        assert [rule.get("to") for rule in spec["egress"]] == [None, [{"namespaceSelector": {}}]][: len(ports)]
    spec = _spec(render(everything).one("NetworkPolicy"))
    assert spec["ingress"][1] == {
        "ports": [{"port": "internal", "protocol": "TCP"}],
        "from": [
            {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "prometheus"}}},
            {"namespaceSelector": {"matchLabels": {"name": "monitoring"}}},
        ],
    }
    ours, tests = spec["ingress"][0]["from"]
    assert ours == {"namespaceSelector": {"matchLabels": {"name": "ingress"}}}
    pod = render(everything).one("Pod")["metadata"]["labels"]
    assert tests["podSelector"]["matchLabels"].items() <= pod.items()
    assert [port["port"] for rule in spec["egress"] for port in rule["ports"]] == [53, 53, 6380, 443, 8443, 8443, 7000]


@pytest.mark.parametrize(
    ("url", "port"),
    [("https://app", 443), ("http://app/x", 80), ("http://app:8000?x", 8000), ("https://[fd00::7]:8443/", 8443)],
)
def test_the_backend_that_is_asked_can_be_reached(url: str, port: int) -> None:
    """The policy opens its port, and no other."""
    hook = {"hook": {"url": url, "existingSecret": "hook"}}
    spec = _spec(render(AUTH, hook).one("NetworkPolicy"))
    assert spec["egress"][1:] == [{"ports": [{"port": port, "protocol": "TCP"}]}]


@pytest.mark.parametrize(
    ("url", "port"),
    [("https://id.example/keys", 443), ("http://id.example/a:7", 80), ("https://[2001:db8::1]:8443/keys", 8443)],
)
def test_the_issuer_can_be_reached(url: str, port: int) -> None:
    """On the port of its URL, anywhere or at the named peers."""
    issuer = {"auth": {"jwksUrl": url, "jwksInsecure": True}}
    rule = _spec(render(issuer).one("NetworkPolicy"))["egress"][-1]
    assert rule == {"ports": [{"port": port, "protocol": "TCP"}]}
    peers = [{"ipBlock": {"cidr": "192.0.2.7/32"}}]
    rule = _spec(render(issuer, {"networkPolicy": {"egress": {"issuerTo": peers}}}).one("NetworkPolicy"))["egress"][-1]
    assert rule == {"ports": [{"port": port, "protocol": "TCP"}], "to": peers}


def test_egress_that_is_not_restricted() -> None:
    """Then the policy says nothing of it."""
    spec = _spec(render(AUTH, REDIS, {"networkPolicy": {"egress": {"enabled": False}}}).one("NetworkPolicy"))
    assert spec["policyTypes"] == ["Ingress"]
    assert "egress" not in spec


def test_what_scrapes(everything: dict[str, Any]) -> None:
    """The ServiceMonitor takes the internal Service alone, under its own labels."""
    rendered = render(everything)
    monitor = rendered.one("ServiceMonitor")
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    selector = _spec(monitor)["selector"]["matchLabels"]
    taken = [item for item in rendered.of("Service") if selector.items() <= item["metadata"]["labels"].items()]
    assert [item["metadata"]["name"] for item in taken] == ["team-chat-internal"]
    assert _spec(monitor)["namespaceSelector"] == {"matchNames": ["talk"]}
    (endpoint,) = _spec(monitor)["endpoints"]
    assert endpoint["port"] in {port["name"] for port in _spec(taken[0])["ports"]}
    assert (endpoint["path"], endpoint["interval"], endpoint["scrapeTimeout"]) == ("/metrics", "15s", "10s")


def test_secrets_come_from_where_they_are() -> None:
    """Secrets of the user's own are referred to, and the chart then makes none."""
    rendered = render(AUTH, REDIS, {"apiKeys": {"existingSecret": "keys", "existingSecretKey": "all"}})
    found = {item["name"]: item["valueFrom"]["secretKeyRef"] for item in rendered.container["env"]}
    assert found == {
        "MARU_JWT_SECRET": {"name": "maru-secrets", "key": "jwt-secret"},
        "MARU_REDIS_URL": {"name": "maru-secrets", "key": "redis-url"},
        "MARU_API_KEYS": {"name": "keys", "key": "all"},
    }
    assert rendered.of("Secret") == []


KEYS = {"apiKeys": {"existingSecret": "keys"}}


def test_backends_have_a_service() -> None:
    """It leads to the replicas that are ready, at the internal port; without keys there is none."""
    (service,) = [item for item in render(AUTH, KEYS).of("Service") if item["metadata"]["name"] == "chat-maru-api"]
    assert "clusterIP" not in _spec(service)
    assert "publishNotReadyAddresses" not in _spec(service)
    assert [(port["port"], port["targetPort"]) for port in _spec(service)["ports"]] == [(80, "internal")]
    assert [item["metadata"]["name"] for item in render(AUTH).of("Service")] == ["chat-maru", "chat-maru-internal"]


def test_backends_have_a_port_of_their_own(everything: dict[str, Any]) -> None:
    """The container, the Service and the NetworkPolicy name it."""
    rendered = render(everything)
    assert {"name": "api", "containerPort": 8081, "protocol": "TCP"} in rendered.container["ports"]
    (service,) = [item for item in rendered.of("Service") if item["metadata"]["name"] == "team-chat-api"]
    assert [(port["port"], port["targetPort"]) for port in _spec(service)["ports"]] == [(8000, "api")]
    (rule,) = [rule for rule in _spec(rendered.one("NetworkPolicy"))["ingress"] if rule["ports"][0]["port"] == "api"]
    assert rule["from"] == [{"podSelector": {"matchLabels": {"app": "shop"}}}]


def test_named_keys_are_mounted(everything: dict[str, Any]) -> None:
    """As a folder: a file that is mounted alone would keep its first content, and SIGHUP bring nothing."""
    rendered = render(everything)
    assert {"name": "api-keys", "mountPath": "/etc/maru/api-keys", "readOnly": True} in rendered.container[
        "volumeMounts"
    ]
    (volume,) = [volume for volume in rendered.pod["spec"]["volumes"] if volume["name"] == "api-keys"]
    assert volume["secret"]["secretName"] == "backends"
    assert volume["secret"]["items"] == [{"key": "all", "path": "api-keys.json"}]


def test_what_the_chart_was_told_wins(everything: dict[str, Any]) -> None:
    """Variables of other ConfigMaps come first, so that they can't replace the chart's; Kubernetes takes the last."""
    sources = render(everything).container["envFrom"]
    assert sources == [{"secretRef": {"name": "more"}}, {"configMapRef": {"name": "team-chat"}}]


def test_the_image() -> None:
    """By tag, by digest where there is one, and by default the chart's own version."""
    assert render(AUTH).container["image"] == f"maru:{VERSION}"
    assert render(AUTH, {"image": {"tag": "2"}}).container["image"] == "maru:2"
    digest = "sha256:" + "a" * 64
    assert render(AUTH, {"image": {"tag": "2", "digest": digest}}).container["image"] == f"maru@{digest}"


def test_extra_objects_are_templates(everything: dict[str, Any]) -> None:
    """Maps and texts, both rendered."""
    names = [item["metadata"]["name"] for item in render(everything).of("ConfigMap")]
    assert {"team-chat-extra", "chat-text"} <= set(names)


def test_the_test_goes_where_the_server_does(everything: dict[str, Any]) -> None:
    """The pod of `helm test` takes the same nodes: elsewhere its image may not run, or no node take it at all."""
    rendered = render(everything)
    server, test = rendered.pod["spec"], _spec(rendered.one("Pod"))
    for key in ("nodeSelector", "tolerations", "affinity"):
        assert test[key] == server[key]
    assert not {"nodeSelector", "tolerations", "affinity"} & _spec(render(AUTH).one("Pod")).keys()


def test_the_dashboard_arrives_as_it_is(everything: dict[str, Any]) -> None:
    """Its ConfigMap holds the file, as it is: nothing of Grafana's own braces is rendered."""
    found = render(everything).one("ConfigMap", "team-chat-dashboard")
    assert found["data"]["maru.json"] == (CHART / "files" / "dashboard.json").read_text().rstrip("\n")
    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert found["metadata"]["annotations"] == {"grafana_folder": "Chat"}
