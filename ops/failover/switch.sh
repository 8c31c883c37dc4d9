#!/bin/sh
# A planned change of the primary: clients wait for a moment, and none sees an error.
set -eu

usage() {
    cat <<'TEXT'
switch.sh [--config FILE]
Changes the roles of the two database servers. The pooler holds clients back while the primary stops cleanly, the standby has everything and takes
over; then the old primary follows. Needs a standby that is synchronous now. Run it where watch.sh runs. What fails before the
standby takes over is taken back.
  --config FILE   default: /etc/quokkaq/failover.conf
TEXT
}

config=/etc/quokkaq/failover.conf
while [ $# -gt 0 ]; do
    case $1 in
        --help) usage; exit 0 ;;
        --config) [ $# -gt 1 ] || { usage >&2; exit 2; }; config=$2; shift ;;
        *) usage >&2; exit 2 ;;
    esac
    shift
done
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=ops/failover/common.sh
. "$here/common.sh"
load_settings "$config"
lock_state 10
read_state
[ -n "$primary" ] || refuse "nothing is known of the two servers: run watch.sh first"
case $mode in handover*) refuse "a change of the primary was interrupted: run promote.sh, which goes on from there" ;; esac
standby=$(other "$primary")
ready=$(sql "$primary" 3 "SELECT count(*) FROM pg_stat_replication WHERE application_name = '$standby'
    AND state = 'streaming' AND sync_state IN ('sync', 'quorum')") || refuse "$primary can't be reached: promote.sh is for that"
[ "$ready" = 1 ] || refuse "$standby is not synchronous"
[ "$(sql "$standby" 3 'SELECT pg_is_in_recovery()')" = t ] || refuse "$standby is no standby"

# What a stop has to write, written before anybody waits.
sql "$primary" 120 CHECKPOINT >/dev/null
stopped=no
take_back() {
    trap - EXIT
    say "taken back: $primary stays the primary"
    [ "$stopped" = no ] || hook 60 "$primary" "$START_COMMAND" || say "$primary couldn't be started again"
    pooler_each RESUME 5 || true
    exit 1
}
trap take_back EXIT
trap 'exit 1' HUP INT TERM
began=$(now)
pooler_each PAUSE 10 || { say "a transaction didn't end within 10 s"; exit 1; }
last=$(sql "$primary" 3 'SELECT pg_current_wal_flush_lsn()')
stopped=yes
hook 60 "$primary" "$STOP_COMMAND" || { say "$primary couldn't be stopped"; exit 1; }
for try in 1 2 3 4 5 6 7 8 9 10; do
    # The record of the stop comes after what was last, so there must be more.
    there=$(sql "$standby" 3 "SELECT pg_last_wal_receive_lsn() > '$last'::pg_lsn AND pg_last_wal_replay_lsn() >= pg_last_wal_receive_lsn()")
    [ "$there" != t ] || break
    [ "$try" -lt 10 ] || { say "$standby has not everything"; exit 1; }
    sleep 0.3
done
# From here on there is no way back: once promotion was asked for, only forward is safe.
trap - EXIT HUP INT TERM
mode=handover
write_state
become_primary "$standby" '' || refuse "$standby wasn't promoted: run promote.sh, which goes on from here"
old=$primary
primary=$standby mode=alone seen=$(now) failing_since=0 failures=0 absent_since=0 flush_lsn=0/0
repoint "$primary"
write_state
pooler_each RESUME 5 || say "RESUME the pooler by hand"
say "$primary is the primary; clients waited $(($(now) - began)) s"
hook 300 "$old" "$REJOIN_COMMAND" || refuse "$old doesn't follow yet: run rejoin.sh $old on it"
say "$old follows; watch.sh makes it synchronous"
