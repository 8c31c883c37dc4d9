#!/bin/sh
# Put the scripts, configuration and secrets of point-in-time recovery into place on the database's host.
set -eu

usage() {
    cat <<'END'
Usage: install.sh SETTINGS HOME

  SETTINGS  what to know of this host: a copy of ops/backups/settings.example
  HOME      folder that will hold the scripts, e.g. /opt/quokkaq/backups

Run it as root, or as the account of the server. Run again, it renews everything but the secrets: passphrases that
are missing in HOME/secrets are made, those that are there are kept. Keep a copy of them far from here: without them
no backup can be read.
END
}

fail() { echo "install.sh: $1" >&2; exit 2; }

[ "${1:-}" != --help ] || { usage; exit 0; }
[ $# = 2 ] || { usage >&2; exit 2; }
[ -f "$1" ] || fail "there is no file $1"
command -v openssl >/dev/null || fail "openssl is missing"
case $2 in /*) ;; *) fail "HOME must be an absolute path" ;; esac
case $2 in *[!A-Za-z0-9/._-]*) fail "HOME may hold letters, digits and / . _ - only: it goes into archive_command" ;; esac
from=$(cd "$(dirname "$0")" && pwd)
HOME_OF_SCRIPTS=$2

# shellcheck source=settings.example
. "$1"
for name in STANZA PG_ACCOUNT PG_BIN PG_DATA PG_SOCKET PG_PORT SPOOL LOGS REPO1_TYPE REPO1_PATH REPO2_TYPE REPO2_PATH; do
    eval "[ -n \"\${$name:-}\" ]" || fail "$1 doesn't set $name"
done
id "$PG_ACCOUNT" >/dev/null 2>&1 || fail "there is no account $PG_ACCOUNT"
[ "$(id -u)" = 0 ] || [ "$(id -un)" = "$PG_ACCOUNT" ] || fail "run it as root or as $PG_ACCOUNT"

# repository N: the lines of one repository.
repository() {
    value() { eval "printf %s \"\${REPO$1_$2:-}\""; }
    repo=$1
    printf 'repo%s-path=%s\n' "$repo" "$(value "$repo" PATH)"
    printf 'repo%s-cipher-type=aes-256-cbc\n' "$repo"
    case $(value "$repo" TYPE) in
        posix) printf 'repo%s-type=posix\n' "$repo" ;;
        s3)
            printf 'repo%s-type=s3\n' "$repo"
            # Small files together: each object costs a request.
            printf 'repo%s-bundle=y\n' "$repo"
            for option in bucket region endpoint; do
                found=$(value "$repo" "S3_$(printf %s "$option" | tr '[:lower:]' '[:upper:]')")
                [ -n "$found" ] || fail "repository $repo is in S3 and has no $option"
                printf 'repo%s-s3-%s=%s\n' "$repo" "$option" "$found"
            done
            found=$(value "$repo" S3_URI_STYLE)
            printf 'repo%s-s3-uri-style=%s\n' "$repo" "${found:-host}"
            found=$(value "$repo" S3_CA_FILE)
            [ -z "$found" ] || printf 'repo%s-storage-ca-file=%s\n' "$repo" "$found"
            # Without keys: the role of this machine.
            [ -e "$HOME_OF_SCRIPTS/secrets/repo${repo}_s3_key" ] || printf 'repo%s-s3-key-type=auto\n' "$repo"
            ;;
        *) fail "REPO${repo}_TYPE is posix or s3" ;;
    esac
    full=$(value "$repo" KEEP_FULL) diff=$(value "$repo" KEEP_DIFF) wal=$(value "$repo" KEEP_WAL)
    printf 'repo%s-retention-full=%s\n' "$repo" "${full:-4}"
    printf 'repo%s-retention-diff=%s\n' "$repo" "${diff:-7}"
    printf 'repo%s-retention-archive-type=full\n' "$repo"
    printf 'repo%s-retention-archive=%s\n' "$repo" "${wal:-${full:-4}}"
}

umask 077
mkdir -p "$HOME_OF_SCRIPTS/secrets" "$SPOOL/locks" "$LOGS"
for repo in 1 2; do
    pass="$HOME_OF_SCRIPTS/secrets/repo${repo}_cipher_pass"
    [ -s "$pass" ] || openssl rand -base64 48 > "$pass"
    eval "type=\$REPO${repo}_TYPE path=\$REPO${repo}_PATH"
    # shellcheck disable=SC2154
    [ "$type" != posix ] || mkdir -p "$path"
done
REPOSITORIES="$(repository 1)
$(repository 2)"
[ "$1" -ef "$HOME_OF_SCRIPTS/settings" ] || cp "$1" "$HOME_OF_SCRIPTS/settings"
for file in host.sh pgbackrest.sh backup.sh restore-to.sh restore-latest.sh status.sh flatten.awk; do
    [ "$from" -ef "$HOME_OF_SCRIPTS" ] || cp "$from/$file" "$HOME_OF_SCRIPTS/$file"
done
for file in pgbackrest.conf postgresql.conf schedule.cron; do
    awk -v home="$HOME_OF_SCRIPTS" -v spool="$SPOOL" -v logs="$LOGS" -v stanza="$STANZA" -v data="$PG_DATA" \
        -v socket="$PG_SOCKET" -v port="$PG_PORT" -v account="$PG_ACCOUNT" -v repositories="$REPOSITORIES" '
        {
            gsub(/@HOME@/, home); gsub(/@SPOOL@/, spool); gsub(/@LOGS@/, logs); gsub(/@STANZA@/, stanza)
            gsub(/@PG_DATA@/, data); gsub(/@PG_SOCKET@/, socket); gsub(/@PG_PORT@/, port); gsub(/@PG_ACCOUNT@/, account)
            gsub(/@REPOSITORIES@/, repositories); print
        }' "$from/$file" > "$HOME_OF_SCRIPTS/$file.new"
    mv "$HOME_OF_SCRIPTS/$file.new" "$HOME_OF_SCRIPTS/$file"
done
chmod 0700 "$HOME_OF_SCRIPTS"/*.sh
chmod -R go-rwx "$HOME_OF_SCRIPTS"
if [ "$(id -u)" = 0 ]; then
    chown -R "$PG_ACCOUNT" "$HOME_OF_SCRIPTS" "$SPOOL" "$LOGS"
    for repo in 1 2; do
        eval "type=\$REPO${repo}_TYPE path=\$REPO${repo}_PATH"
        [ "$type" != posix ] || chown "$PG_ACCOUNT" "$path"
    done
fi
echo "Installed in $HOME_OF_SCRIPTS. Next: have postgresql.conf include $HOME_OF_SCRIPTS/postgresql.conf, restart the server,"
echo "run backup.sh full as $PG_ACCOUNT, copy $HOME_OF_SCRIPTS/secrets to where nobody of this host can lose it,"
echo "and put schedule.cron into /etc/cron.d/quokkaq-backups."
