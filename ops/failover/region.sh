#!/bin/sh
# A whole region is lost: have this one take over.
set -eu

usage() {
    cat <<'END'
Usage: region.sh SETTINGS [--force]

  SETTINGS  what to know of both regions: a copy of ops/failover/region.settings.example
  --force   go on although the first region still answers, or can't be fenced: only when it is known to take no writes

Run it on a host of the second region. It makes sure that the first doesn't answer, fences it, promotes the synchronous
replica, starts web and workers, waits until they are ready and says what to change in DNS. Run again after a failure, it goes on
where it was. Ends with 3 when it refuses, 1 when something failed.
END
}

say() { echo "$(date -u +%H:%M:%S) $1"; }
fail() { echo "region.sh: $1" >&2; exit "${2:-1}"; }

[ "${1:-}" != --help ] || { usage; exit 0; }
[ $# -ge 1 ] && [ -f "$1" ] || { usage >&2; exit 2; }
case ${2:-} in --force) force=yes ;; '') force=no ;; *) fail "what is $2? See --help" 2 ;; esac
# shellcheck source=region.settings.example
. "$1"
for name in AWAY_READY AWAY_DATABASE STANDBY START READY; do
    eval "[ -n \"\${$name:-}\" ]" || fail "$1 doesn't set $name" 2
done
PSQL=${PSQL:-psql} FENCE=${FENCE:-} DNS=${DNS:-} READY_SECONDS=${READY_SECONDS:-120}

ask() { PGCONNECT_TIMEOUT=${2:-5} "$PSQL" "$STANDBY" -X -A -t -q -v ON_ERROR_STOP=1 -c "$1"; }

# away_answers: whether anything of the first region does. A server that only refuses us is there, too.
away_answers() {
    status=$(curl -s -o /dev/null -m 2 -w '%{http_code}' "$AWAY_READY") || status=000
    [ "$status" = 000 ] || { echo "its web answers with $status"; return 0; }
    said=$(PGCONNECT_TIMEOUT=2 "$PSQL" "$AWAY_DATABASE" -X -w -c 'SELECT 1' 2>&1) && { echo "its database answers"; return 0; }
    case $said in
        *FATAL* | *"no password supplied"*) echo "its database answers"; return 0 ;;
    esac
    return 1
}

recovering=$(ask 'SELECT pg_is_in_recovery()') || fail "the replica here doesn't answer: nothing was changed"

# Twice, so that one lost packet isn't an outage. Nor is one when the replica is still being fed.
for try in 1 2; do
    if found=$(away_answers); then
        [ $force = yes ] || fail "the first region is there ($found, try $try): take it down first, or say --force" 3
        say "the first region is there ($found); going on by --force"
    fi
done
if [ "$recovering" = t ] && [ $force = no ]; then
    # A connection that hangs is "streaming" until a time-out: what counts is when something came last.
    silent=$(ask "SELECT coalesce((SELECT extract(epoch FROM now() - last_msg_receipt_time) FROM pg_stat_wal_receiver WHERE status = 'streaming'), 999)::int")
    if [ "$silent" -lt 2 ]; then
        sleep 3
        again=$(ask "SELECT coalesce((SELECT extract(epoch FROM now() - last_msg_receipt_time) FROM pg_stat_wal_receiver WHERE status = 'streaming'), 999)::int")
        [ "$again" -lt 3 ] && fail "the first region's database still feeds the replica here: it isn't lost" 3
    fi
fi
say "the first region doesn't answer"

if [ -n "$FENCE" ]; then
    if sh -c "$FENCE"; then
        say "the first region is fenced"
    else
        [ $force = yes ] || fail "it can't be fenced: make sure by hand that it stays down, then say --force" 3
        say "it can't be fenced; going on by --force"
    fi
else
    say "nothing fences the first region but that its commits wait for this replica: synchronous_standby_names there must name it alone"
fi

if [ "$recovering" = t ]; then
    ask "SELECT 'received until ' || coalesce(pg_last_wal_receive_lsn()::text, '?') || ', last commit of ' || coalesce(pg_last_xact_replay_timestamp()::text, '?')"
    [ "$(ask 'SELECT pg_promote(true, 60)' 70)" = t ] || fail "the replica wasn't promoted within a minute"
    say "the replica is promoted"
else
    say "the database here takes writes already"
fi
standbys=$(ask 'SHOW synchronous_standby_names')
[ -z "$standbys" ] || say "commits here wait for $standbys: make that replica, or let them not wait"

sh -c "$START" || fail "web and workers don't start here"
waited=0
until [ "$(curl -s -o /dev/null -m 2 -w '%{http_code}' -H "Host: ${READY_HOST:-localhost}" "$READY")" = 200 ]; do
    waited=$((waited + 1))
    [ $waited -le "$READY_SECONDS" ] || fail "web isn't ready here after $READY_SECONDS s: $READY"
    sleep 1
done
say "this region is ready: $READY"
[ -z "$DNS" ] || echo "Now change DNS:  $DNS"
echo "Then: a full backup (ops/backups/backup.sh full), and a new synchronous replica before the next loss."
echo "The first region's database must not be started again but to be rewound to this one (pg_rewind)."
