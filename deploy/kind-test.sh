#!/bin/sh
# A real upgrade in a real Kubernetes on this machine: makes a kind cluster, installs the chart with Redis and three
# replicas, lets clients talk, upgrades and rolls back under them, and says PASS if nothing acked was lost, repeated or out
# of order. The cluster is deleted afterwards, whatever happens.
#
#   CLIENTS, RATE, SECONDS_OF_TALK   the load: 500 clients, 100 messages/s, 360 s
#   HELM                             the helm to use: 4, or 3 (helm)
#   PYTHON                           the Python that has the tests' packages (.venv/bin/python)
#   KEEP=1                           leave the cluster, to look at it
#
# Needs docker, kind, kubectl and helm, 4 GiB of memory, and fifteen minutes. The port is a free one of 127.0.0.1.
set -eu
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-.venv/bin/python}
HELM=${HELM:-helm}
CLIENTS=${CLIENTS:-500}
RATE=${RATE:-100}
SECONDS_OF_TALK=${SECONDS_OF_TALK:-360}
NAMESPACE=maru-test
CLUSTER=maru-test-$$

for command in docker kind kubectl "$HELM"; do
    command -v "$command" >/dev/null || { echo "$command not found: install it" >&2; exit 1; }
done
docker info >/dev/null 2>&1 || { echo 'docker does not answer: start it, or ask for the right to use it' >&2; exit 1; }

folder=$(mktemp -d)
KUBECONFIG=$folder/kubeconfig
export KUBECONFIG
swarm=

finish() {
    status=$?
    trap - EXIT INT TERM HUP
    [ -z "$swarm" ] || kill "$swarm" 2>/dev/null || true
    if [ "$status" -ne 0 ] && [ -s "$KUBECONFIG" ]; then
        echo '--- what the cluster says'
        kubectl -n "$NAMESPACE" get pods,deployments -o wide || true
        kubectl -n "$NAMESPACE" get events --sort-by=.lastTimestamp 2>/dev/null | tail -n 30 || true
        kubectl -n "$NAMESPACE" logs -l app.kubernetes.io/name=maru --tail=50 --prefix || true
    fi
    if [ "${KEEP:-}" = 1 ]; then
        echo "kept: KUBECONFIG=$KUBECONFIG; delete it by: kind delete cluster --name $CLUSTER"
    else
        kind delete cluster --name "$CLUSTER" >/dev/null 2>&1 || true
        rm -rf "$folder"
    fi
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

say() { printf '\n=== %s\n' "$*"; }
in_namespace() { kubectl -n "$NAMESPACE" "$@"; }
release() { verb=$1; shift; "$HELM" "$verb" maru "$@" -n "$NAMESPACE"; }

say 'a cluster'
port=$("$PYTHON" -c 'import socket; print(socket.create_server(("127.0.0.1", 0)).getsockname()[1])')
kind create cluster --name "$CLUSTER" --wait 180s --config - <<END
kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
nodes:
  - role: control-plane
    extraPortMappings:
      - { containerPort: 30080, hostPort: $port, listenAddress: 127.0.0.1 }
END

say 'the image'
docker build --tag maru:kind-test .
kind load docker-image maru:kind-test --name "$CLUSTER"

say 'Redis and the secrets'
kubectl create namespace "$NAMESPACE"
MARU_JWT_SECRET=$("$PYTHON" -c 'import secrets; print(secrets.token_hex(32))')
export MARU_JWT_SECRET
# By a file: a secret on a command line can be read by every user of the machine.
printf 'jwt-secret=%s\nredis-url=redis://redis:6379/0\n' "$MARU_JWT_SECRET" >"$folder/secrets"
in_namespace create secret generic maru --from-env-file="$folder/secrets"
rm "$folder/secrets"
in_namespace apply -f deploy/kind-test-redis.yaml
in_namespace rollout status deployment/redis --timeout=180s

say 'install, and test the connection'
release install charts/maru -f deploy/kind-test-values.yaml --wait --timeout 5m
release test --timeout 2m

say "$CLIENTS clients talk, $RATE messages/s for $SECONDS_OF_TALK s"
"$PYTHON" -m loadtest.swarm --url "http://127.0.0.1:$port" --clients "$CLIENTS" --rate "$RATE" \
    --seconds "$SECONDS_OF_TALK" --channels 20 --reconnect 0.1 &
swarm=$!
sleep 30 # until they are all in

say 'upgrade under them: every replica is replaced'
before=$(in_namespace get pods -l app.kubernetes.io/component=server -o name | sort)
release upgrade charts/maru -f deploy/kind-test-values.yaml --set config.logLevel=warning --wait --timeout 10m
after=$(in_namespace get pods -l app.kubernetes.io/component=server \
    --field-selector=status.phase=Running -o name | sort)
[ "$before" != "$after" ] || { echo 'the upgrade replaced no pod' >&2; exit 1; }

say 'and back'
release rollback --wait --timeout 10m
kill -0 "$swarm" 2>/dev/null || { echo 'the clients were done before the rollback was: raise SECONDS_OF_TALK' >&2; exit 1; }

say 'the verdict'
status=0
wait "$swarm" || status=$?
swarm=
restarts=$(in_namespace get pods -l app.kubernetes.io/component=server \
    -o jsonpath='{range .items[*]}{.status.containerStatuses[0].restartCount}{"\n"}{end}' | grep -cv '^0$' || true)
[ "$restarts" = 0 ] || { echo "$restarts replicas were restarted" >&2; status=1; }
[ "$status" -eq 0 ] || { echo FAIL; false; }
echo PASS
