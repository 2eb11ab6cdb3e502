#!/bin/sh
# Put back what backup.sh saved. PostgreSQL and S3 have to run, MLflow must not:
#   docker compose -f infra/compose.yaml up -d postgres s3
#   restore.sh DIRECTORY
# The present database is replaced when its successor is complete; objects are added.
set -eu
from=${1:?usage: restore.sh DIRECTORY}
file=$(cd "$(dirname "$0")/.." && pwd)/compose.yaml
compose() { ${COMPOSE:-docker compose} -f "$file" "$@"; }

[ -e "$from/SHA256SUMS" ] || { echo "error: $from is no backup made by backup.sh" >&2; exit 2; }
(cd "$from" && sha256sum --quiet -c SHA256SUMS) ||
    { echo "error: files in $from have changed since; restore nothing" >&2; exit 2; }
[ -z "$(compose ps -q --status running mlflow)" ] ||
    { echo "error: MLflow runs; first: docker compose -f $file stop mlflow" >&2; exit 2; }
echo "restoring the objects" >&2
compose run --rm -T --no-deps bucket load <"$from/objects.tar"
echo "restoring the database" >&2
compose exec -T postgres dropdb -U mlflow --if-exists restored
compose exec -T postgres createdb -U mlflow restored
compose exec -T postgres pg_restore -U mlflow -d restored --exit-on-error <"$from/mlflow.dump"
compose exec -T postgres dropdb -U mlflow --if-exists --force mlflow
compose exec -T postgres psql -U mlflow -d postgres -q -c 'ALTER DATABASE restored RENAME TO mlflow'
echo "restored; start MLflow: docker compose -f $file up -d" >&2
