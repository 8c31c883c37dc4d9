# shellcheck shell=sh disable=SC2034,SC2154  # its names are used where it is read
# What the scripts beside it know of this host; they read it with `.` after setting `home`.

# shellcheck source=settings.example
. "$home/settings"
PG_START=${PG_START:-} PG_STOP=${PG_STOP:-} PG_OPTIONS=${PG_OPTIONS:-} METRICS=${METRICS:-}
TAB=$(printf '\t')

say() { echo "$(date -u +%H:%M:%S) $1"; }
fail() { echo "$(basename "$0"): $1" >&2; exit "${2:-2}"; }

[ "$(id -un)" = "$PG_ACCOUNT" ] || fail "run it as $PG_ACCOUNT: runuser -u $PG_ACCOUNT -- $0 …"

run_pgbackrest() { "$home/pgbackrest.sh" "$@"; }

# info [N]: what the repositories (or one of them) hold, as lines "PATH<tab>VALUE".
info() { run_pgbackrest ${1:+--repo="$1"} --output=json info | awk -f "$home/flatten.awk"; }

# sql STATEMENT [HOST PORT]: what the server answers, without decoration.
sql() {
    PGCONNECT_TIMEOUT=5 PGOPTIONS='-c statement_timeout=60000' "$PG_BIN/psql" -X -A -t -q -v ON_ERROR_STOP=1 \
        -h "${2:-$PG_SOCKET}" -p "${3:-$PG_PORT}" -U "$PG_ACCOUNT" -d postgres -c "$1"
}

# running DIR: whether a server runs on a data folder.
running() { [ -f "$1/postmaster.pid" ] && "$PG_BIN/pg_ctl" status -D "$1" >/dev/null 2>&1; }

# one_of WORD LIST…: whether a word is in a list.
one_of() {
    word=$1
    shift
    for each in "$@"; do [ "$word" != "$each" ] || return 0; done
    return 1
}
