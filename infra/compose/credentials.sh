#!/bin/sh
# Make new random credentials for compose.yaml, readable by you alone. Never overwrites.
#   credentials.sh [FILE]    default: .env beside compose.yaml
set -eu
file=${1:-$(dirname "$0")/../.env}
if [ -e "$file" ]; then
    echo "error: $file exists; the running services know its passwords, so it is kept" >&2
    exit 2
fi
random() { od -An -N"$1" -tx1 /dev/urandom | tr -d ' \n'; }
umask 077
draft=$(mktemp "$file.XXXXXX")
trap 'rm -f "$draft"' EXIT
cat >"$draft" <<END
LLMCLF_POSTGRES_PASSWORD=$(random 24)
LLMCLF_S3_ACCESS_KEY=$(random 10)
LLMCLF_S3_SECRET_KEY=$(random 24)
LLMCLF_MLFLOW_USERNAME=admin
LLMCLF_MLFLOW_PASSWORD=$(random 24)
LLMCLF_MLFLOW_SECRET_KEY=$(random 24)
END
mv "$draft" "$file"
echo "wrote $file"
