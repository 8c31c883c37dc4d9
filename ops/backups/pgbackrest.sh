#!/bin/sh
# pgBackRest with this host's configuration and secrets: what PostgreSQL's archive_command and restore_command call.
set -eu

if [ "${1:-}" = --help ]; then
    echo "Usage: pgbackrest.sh COMMAND …    runs pgBackRest for this host; \`pgbackrest help\` lists its commands"
    exit 0
fi
home=$(cd "$(dirname "$0")" && pwd)

# secret NAME FILE: have the environment hold what is in a file, if it is there.
secret() {
    [ -e "$home/secrets/$2" ] || return 0
    [ -r "$home/secrets/$2" ] || { echo "pgbackrest.sh: $(id -un) may not read $home/secrets/$2" >&2; exit 77; }
    value=$(cat "$home/secrets/$2")
    export "PGBACKREST_$1=$value"
}

for repo in 1 2; do
    secret "REPO${repo}_CIPHER_PASS" "repo${repo}_cipher_pass"
    secret "REPO${repo}_S3_KEY" "repo${repo}_s3_key"
    secret "REPO${repo}_S3_KEY_SECRET" "repo${repo}_s3_key_secret"
done
# shellcheck source=/dev/null
. "$home/settings"
export PGBACKREST_CONFIG="$home/pgbackrest.conf" PGBACKREST_STANZA="$STANZA"
exec pgbackrest "$@"
