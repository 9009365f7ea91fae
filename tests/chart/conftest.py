"""What the chart's tests share: values that use every object and every list of the chart."""

from typing import Any

import pytest

PUBLIC_KEY = """-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=
-----END PUBLIC KEY-----
"""
"""The example of RFC 8410, section 10.1."""


@pytest.fixture(scope="session")
def everything() -> dict[str, Any]:
    """Values with everything on that can be on together, each list and map with something in it."""
    return {
        "nameOverride": "rooms",
        "fullnameOverride": "team-chat",
        "commonLabels": {"team": "messaging"},
        "replicaCount": 3,
        "image": {
            "repository": "registry.example.com/maru",
            "tag": "1.2.3",
            "digest": "sha256:" + "0" * 64,
            "pullPolicy": "Always",
        },
        "imagePullSecrets": ["registry"],
        "auth": {
            "jwtPublicKey": PUBLIC_KEY,
            "issuer": "https://login.example.com",
            "audience": "chat",
            "leeway": "2s",
            "maxLifetime": "12h",
            "revocationLife": "7d",
            "tokenGrace": 1,
            "defaultGrants": {"room:*": ["join", "send"]},
        },
        "redis": {"url": "redis://:hunter2@redis:6379/0", "prefix": "chat:", "waitReplicas": 1},
        "cluster": {"existingSecret": "maru-secrets", "existingSecretKey": "it"},
        "apiKeys": {"keys": ["k" * 32, "another-key-that-is-long"], "fileSecret": "backends", "fileSecretKey": "all"},
        "api": {"port": 8081, "servicePort": 8000, "annotations": {"example.com/a": "b"}},
        "webhooks": {"existingSecret": "maru-secrets", "existingSecretKey": "hooks"},
        "hook": {
            "url": "https://app.example.com:8443/maru",
            "secret": f"whsec_{'c2Vj' * 11}",
            "previousSecret": "maru-secrets",
            "previousSecretKey": "it",
        },
        "config": {
            "allowedOrigins": ["https://chat.example.com", "https://app.example.com"],
            "trustedProxies": ["10.0.0.0/8", "2001:db8::7"],
            "retentionEvents": 2_000_000,
            "retentionAge": "90d",
            "pingInterval": 2.5,
            "logLevel": "debug",
            "logCommandsPerSecond": 5,
            "limits": {"send_user": [20, 100], "address": [0, 0]},
            "limitTiers": {"bot": {"session": [500, 1_000_000]}},
            "channelRules": {
                "room:*": {"slow_mode_s": 2.5, "retention_events": 2_000_000, "retention_age": "7d", "receipts": 50},
                "room:42": {"hooks": ["join", "send"], "hook_failure": "open"},
            },
        },
        "drain": {"preStopSleepSeconds": 10, "timeoutSeconds": 40, "marginSeconds": 5},
        "terminationGracePeriodSeconds": 60,
        "updateStrategy": {"type": "RollingUpdate", "maxSurge": "25%", "maxUnavailable": 0},
        "resources": {"requests": {"cpu": 1, "memory": "1Gi"}, "limits": {"memory": "2Gi"}},
        "service": {
            "type": "LoadBalancer",
            "port": 80,
            "appProtocol": "kubernetes.io/ws",
            "externalTrafficPolicy": "Local",
            "loadBalancerClass": "example.com/lb",
            "loadBalancerSourceRanges": ["192.0.2.0/24"],
            "annotations": {"example.com/a": "b"},
        },
        "internalService": {"annotations": {"example.com/a": "b"}},
        "ingress": {
            "enabled": True,
            "className": "nginx",
            "annotations": {"example.com/affinity": "cookie"},
            "hosts": ["chat.example.com", "*.chat.example.com"],
            "tls": [{"secretName": "chat-tls", "hosts": ["chat.example.com"]}],
        },
        "httpRoute": {
            "enabled": True,
            "parentRefs": [{"name": "public", "namespace": "gateways", "sectionName": "https"}],
            "hostnames": ["chat.example.com"],
            "annotations": {"example.com/a": "b"},
            "filters": [{"type": "ResponseHeaderModifier", "responseHeaderModifier": {"remove": ["server"]}}],
            "timeouts": {"request": "0s"},
            "sessionPersistence": {"type": "Cookie", "sessionName": "maru_replica"},
        },
        "autoscaling": {"enabled": True, "minReplicas": 3, "maxReplicas": 30, "targetConnections": 1_500_000},
        "networkPolicy": {
            "clientsFrom": [{"namespaceSelector": {"matchLabels": {"name": "ingress"}}}],
            "internalFrom": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}],
            "backendsFrom": [{"podSelector": {"matchLabels": {"app": "shop"}}}],
            "metricsNamespace": "prometheus",
            "egress": {
                "storePorts": [6380],
                "webhookPorts": [443, 8443],
                "to": [{"ports": [{"port": 7000, "protocol": "TCP"}], "to": [{"ipBlock": {"cidr": "192.0.2.0/24"}}]}],
            },
        },
        "serviceAccount": {"annotations": {"example.com/a": "b"}},
        "nodeSelector": {"kubernetes.io/arch": "amd64"},
        "tolerations": [{"key": "chat", "operator": "Exists", "effect": "NoSchedule"}],
        "affinity": {"podAntiAffinity": {}},
        "priorityClassName": "high",
        "podAnnotations": {"example.com/a": "b", "checksum/config": "mine"},
        "podLabels": {"team": "other", "app.kubernetes.io/instance": "mine"},
        "extraEnv": [{"name": "TZ", "value": "UTC"}],
        "extraEnvFrom": [{"secretRef": {"name": "more"}}],
        "extraVolumes": [{"name": "ca", "secret": {"secretName": "redis-ca"}}],
        "extraVolumeMounts": [{"name": "ca", "mountPath": "/etc/redis-ca", "readOnly": True}],
        "extraObjects": [
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "{{ include 'maru.fullname' . }}-extra".replace("'", '"')},
            },
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}-text\n",
        ],
        "metrics": {
            "serviceMonitor": {
                "enabled": True,
                "labels": {"release": "prometheus"},
                "relabelings": [{"action": "labeldrop", "regex": "endpoint"}],
                "metricRelabelings": [{"action": "drop", "sourceLabels": ["__name__"], "regex": "python_gc_.*"}],
            },
            "prometheusRule": {
                "enabled": True,
                "labels": {"release": "prometheus"},
                "alertLabels": {"team": "messaging"},
                "disabled": ["MaruChurn"],
            },
            "dashboard": {"enabled": True, "annotations": {"grafana_folder": "Chat"}},
        },
    }
