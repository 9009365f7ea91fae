#!/bin/sh
# Builds and starts docker-compose.test.yml, runs tests/compose against it, and takes it down whatever happens.
#
#   COMPOSE      the command to do it with; by default `docker compose` where an engine answers, else `podman-compose`
#   APP_IMAGE    an image to test as it is, in place of one that is built now
#   PYTHON       the Python that has the tests' packages (.venv/bin/python)
#
# Arguments go to pytest. The ports are free ones of 127.0.0.1.
set -eu
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-.venv/bin/python}

if [ -z "${COMPOSE:-}" ]; then
    if docker compose version >/dev/null 2>&1 && docker info >/dev/null 2>&1; then
        COMPOSE='docker compose'
    elif command -v podman-compose >/dev/null; then
        COMPOSE=podman-compose
    else
        echo 'neither a running Docker with its compose plugin nor podman-compose found: install one' >&2
        exit 1
    fi
fi
PROJECT=maru-test-$$
COMPOSE="$COMPOSE -p $PROJECT -f docker-compose.test.yml"
export COMPOSE

ports=$("$PYTHON" - <<'END'
import contextlib, socket
with contextlib.ExitStack() as open_:
    print(*(open_.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for _ in range(3)))
END
)
# shellcheck disable=SC2086 # three words
set -- $ports "$@"
export FRONT_PORT="$1" APP1_PORT="$2" APP2_PORT="$3"
shift 3

# The server takes no secret that anybody can read here; the tests sign with the same.
JWT_SECRET=$("$PYTHON" -c 'import secrets; print(secrets.token_hex(32))')
TEST_JWT_SECRET=$JWT_SECRET
EMITTER_PASSWORD=$("$PYTHON" -c 'import secrets; print(secrets.token_hex(16))')
export JWT_SECRET TEST_JWT_SECRET EMITTER_PASSWORD

finish() {
    status=$?
    trap - EXIT INT TERM HUP
    if [ "$status" -ne 0 ]; then
        echo '--- logs'
        $COMPOSE logs 2>&1 | tail -n 200 || true
    fi
    $COMPOSE down -v >/dev/null 2>&1 || { echo "could not take it down: $COMPOSE down -v" >&2; status=1; }
    case $COMPOSE in
        # It leaves its network behind.
        podman-compose*) podman network rm -f "${PROJECT}_default" >/dev/null 2>&1 || true ;;
    esac
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

$COMPOSE version
[ -n "${APP_IMAGE:-}" ] || $COMPOSE build
$COMPOSE up -d
"$PYTHON" -m pytest tests/compose "$@"
