#!/bin/sh
# Builds the image, and runs it with podman as the chart's Deployment says: its user, its read-only root, its settings.
#
#   IMAGE          an image (name:tag) to test as it is, in place of one that is built now
#   PYTHON_IMAGE   the base to build on, where it should not be the Dockerfile's own
#   PYTHON         the Python that has the tests' packages (.venv/bin/python)
#
# Arguments go to pytest. Needs podman >= 4.3 and catatonit; the ports are free ones of 127.0.0.1.
set -eu
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-.venv/bin/python}

for command in podman catatonit; do
    command -v "$command" >/dev/null || [ -x "/usr/libexec/podman/$command" ] || {
        echo "$command not found: install it" >&2
        exit 1
    }
done

built=
finish() {
    status=$?
    trap - EXIT INT TERM HUP
    [ -z "$built" ] || podman untag "$built" || status=1
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

if [ -z "${IMAGE:-}" ]; then
    built=localhost/maru-image-test:$$
    podman build ${PYTHON_IMAGE:+--build-arg "PYTHON_IMAGE=$PYTHON_IMAGE"} --tag "$built" .
    IMAGE=$built
fi
export IMAGE
"$PYTHON" -m pytest tests/chart/image "$@"
