#!/bin/sh
# Pins the images that are built on or run here to their present digests: `python:3.13-slim-bookworm` becomes
# `python:3.13-slim-bookworm@sha256:...`, which names the same bytes for everybody, and an older digest the present one.
#
#   --check   changes nothing, and fails if an image has no digest
#
# Asks the images' registries, by skopeo or by docker (buildx). Review the change like any other, then commit it.
set -eu
cd "$(dirname "$0")/.."
FILES="Dockerfile docker-compose.test.yml deploy/kind-test-redis.yaml $(ls deploy/engines/*.yml)"
IMAGES=$(sed -nE 's/.*[ =/-]((python|nginx|redis|postgres|nats|apache\/kafka):[0-9][a-z0-9.-]*)(@sha256:[0-9a-f]{64})?([ }].*)?$/\1/p' $FILES | sort -u)

if [ "${1:-}" = --check ]; then
    open=$(grep -nE '[ =/-](python|nginx|redis|postgres|nats|apache/kafka):[0-9][a-z0-9.-]*([ }]|$)' $FILES || true)
    [ -z "$open" ] || { echo "without a digest:" "$open" "call make digests" >&2; exit 1; }
    exit 0
fi

digest_of() {
    case $1 in */*) path=$1 ;; *) path=library/$1 ;; esac
    if command -v skopeo >/dev/null; then
        skopeo inspect --no-tags --format '{{.Digest}}' "docker://docker.io/$path"
    else
        docker buildx imagetools inspect --format '{{.Manifest.Digest}}' "docker.io/$path"
    fi
}

for image in $IMAGES; do
    digest=$(digest_of "$image")
    echo "$digest" | grep -qE '^sha256:[0-9a-f]{64}$' || { echo "$image: no digest, but: $digest" >&2; exit 1; }
    echo "$image@$digest"
    # In place, through a copy: sed's own option is not the same everywhere.
    for file in $FILES; do
        escaped=$(echo "$image" | sed 's/[./]/\\&/g')
        sed -E "s~([ =/-])$escaped(@sha256:[0-9a-f]{64})?([ }]|\$)~\1$image@$digest\3~" "$file" >"$file.pinned"
        cat "$file.pinned" >"$file"
        rm "$file.pinned"
    done
done
