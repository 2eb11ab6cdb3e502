# Sourced by .ci/run: a container engine, and the base of the image that the tests run.
#
# Uses the daemon that answers; otherwise starts one with a socket and a data directory of its own,
# which go when the shell ends. DOCKER_HOST says which.

docker_as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -E "$@"; fi; }

start_docker() {
    if docker info >/dev/null 2>&1; then return; fi
    DOCKER_PLACE=$(mktemp -d "${TMPDIR:-/tmp}/docker-XXXXXX")
    export DOCKER_HOST=unix://$DOCKER_PLACE/docker.sock
    trap stop_docker EXIT
    # No network of its own: builds and steps use the host's.
    docker_as_root dockerd --host "$DOCKER_HOST" --data-root "$DOCKER_PLACE/data" \
        --exec-root "$DOCKER_PLACE/exec" --pidfile "$DOCKER_PLACE/pid" --group "$(id -g)" \
        --bridge none --iptables=false >"$DOCKER_PLACE/log" 2>&1 &
    for _ in $(seq 120); do
        if docker info >/dev/null 2>&1; then return; fi
        sleep 0.5
    done
    tail -20 "$DOCKER_PLACE/log" >&2
    echo "error: the docker daemon did not start" >&2
    return 1
}

stop_docker() {
    docker_as_root kill "$(cat "$DOCKER_PLACE/pid")" && wait || true
    docker_as_root rm -rf "$DOCKER_PLACE" || true  # its namespaces may be busy still
}

start_docker
docker image inspect python:3.11-slim >/dev/null 2>&1 ||
    docker pull --quiet python:3.11-slim 2>/dev/null ||
    docker_as_root infra/docker/local-base.sh
