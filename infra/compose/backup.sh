#!/bin/sh
# Save the database and every object of the services of compose.yaml, while they run.
#   backup.sh DIRECTORY    made by this script; readable by you alone (it holds all that was logged)
set -eu
umask 077
to=${1:?usage: backup.sh DIRECTORY}
to=$(dirname "$to")/$(basename "$to") # without a slash at its end
file=$(cd "$(dirname "$0")/.." && pwd)/compose.yaml
compose() { ${COMPOSE:-docker compose} -f "$file" "$@"; }

[ ! -e "$to" ] || { echo "error: $to exists; name a new directory" >&2; exit 2; }
draft=$to.part
rm -rf "$draft"
mkdir -p "$draft"
# The database first: rows never name an object that was not there yet.
echo "saving the database" >&2
compose exec -T postgres pg_dump -U mlflow -d mlflow --format=custom >"$draft/mlflow.dump"
echo "saving the objects" >&2
compose run --rm -T --no-deps bucket save >"$draft/objects.tar"
(cd "$draft" && sha256sum mlflow.dump objects.tar >SHA256SUMS)
mv "$draft" "$to"
echo "saved in $to" >&2
