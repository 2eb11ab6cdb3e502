#!/usr/bin/env bash
# Generate the credentials of the MLflow server and its stores into made-by-make-secrets.sh/.
#
#   make-secrets.sh             PostgreSQL and S3 in the cluster: everything is generated
#   make-secrets.sh external    your database and bucket: asks for their credentials, or takes them
#                               from DATABASE_PASSWORD, S3_ACCESS_KEY_ID and S3_SECRET_ACCESS_KEY
#
# Files that exist stay as they are: a database keeps the password that it was made with.
set -euo pipefail
umask 077
directory="$(cd "$(dirname "$0")" && pwd)/made-by-make-secrets.sh"

random() { head -c 24 /dev/urandom | od -An -vtx1 | tr -d ' \n'; }

ask() { # VARIABLE PROMPT: its value from the environment, or typed unseen
    if [ -z "${!1:-}" ]; then
        [ -t 0 ] || { echo "make-secrets.sh: set $1 ($2), or call this in a terminal" >&2; exit 1; }
        read -rsp "$2: " "${1?}" </dev/tty
        echo >&2
    fi
    [ -n "${!1}" ] || { echo "make-secrets.sh: $1 ($2) is empty" >&2; exit 1; }
}

write() { # FILE: from standard input, unless it is there; whole or not at all
    if [ -e "$directory/$1" ]; then
        cat >/dev/null
        echo "kept    $directory/$1"
    else
        cat >"$directory/.$1.draft"
        mv "$directory/.$1.draft" "$directory/$1"
        echo "written $directory/$1"
    fi
}

stores() { # KIND DATABASE_PASSWORD ACCESS_KEY SECRET_KEY
    printf '# %s\ndatabase-password=%s\naccess-key-id=%s\nsecret-access-key=%s\n' "$@"
}

present() { # KIND: whether stores.env is there; stop if it is of the other kind
    [ -e "$directory/stores.env" ] || return
    grep -qx "# $1" "$directory/stores.env" || {
        echo "make-secrets.sh: $directory/stores.env was not made for $1;" \
            "to change over, move it away and call this again" >&2
        exit 1
    }
}

values=("" "" "") # not asked for what is kept
case "${1:-}" in
"")
    kind="stores in the cluster"
    present "$kind" || values=("$(random)" "$(random)" "$(random)")
    ;;
external)
    kind="your own stores"
    if ! present "$kind"; then
        ask DATABASE_PASSWORD "password of the database role"
        ask S3_ACCESS_KEY_ID "access key of the bucket"
        ask S3_SECRET_ACCESS_KEY "secret key of the bucket"
        values=("$DATABASE_PASSWORD" "$S3_ACCESS_KEY_ID" "$S3_SECRET_ACCESS_KEY")
    fi
    ;;
*) echo "make-secrets.sh: unknown argument '$1'; give nothing, or 'external'" >&2; exit 2 ;;
esac
mkdir -p "$directory"
printf 'username=llmclf\npassword=%s\n' "$(random)" | write tracking.env
printf 'admin-username=admin\nadmin-password=%s\nflask-secret-key=%s\n' "$(random)" "$(random)" |
    write mlflow.env
stores "$kind" "${values[@]}" | write stores.env
