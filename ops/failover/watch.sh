#!/bin/sh
# Keeps watch over the two database servers, and has the standby promoted when the primary is gone.
set -eu

usage() {
    cat <<'TEXT'
watch.sh [--config FILE] [--once]
Looks at the primary every POLL_SECONDS and writes down what promote.sh goes by. Run one, on a third machine (best the pooler's), under a
supervisor that restarts it.
  --once   look once, and end
  --config FILE   default: /etc/quokkaq/failover.conf

Who decides, and why there are never two that acknowledge:
- The state here is the only vote. "sync" means: the primary waits for the standby before it acknowledges a commit. "alone" means it doesn't.
- The primary goes on alone only after "alone" was written here, and "sync" is written only after the primary was seen waiting again.
  Whatever fails between two steps leaves "alone", and nobody is promoted.
- After FAILURES failed looks in a row, with "sync", promote.sh runs. It needs a second vote, the standby's: that it no longer hears the
  primary either. A primary that is merely cut off from here goes on.
- "handover" is written before anybody is promoted: whatever interrupts that, it is gone on with, and the old primary never goes on alone.
- A promoted standby confirms nothing to the old primary, which therefore can't acknowledge a commit, reachable or not, fenced or not.
- If this machine is gone, everything goes on as it is; nobody is promoted until it is back.
TEXT
}

config=/etc/quokkaq/failover.conf once=no
while [ $# -gt 0 ]; do
    case $1 in
        --help) usage; exit 0 ;;
        --once) once=yes ;;
        --config) [ $# -gt 1 ] || { usage >&2; exit 2; }; config=$2; shift ;;
        *) usage >&2; exit 2 ;;
    esac
    shift
done
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=ops/failover/common.sh
. "$here/common.sh"
load_settings "$config"
mkdir -p "$STATE_DIR"

# The first time: whoever isn't in recovery is the primary.
find_primary() {
    for node in $NODES; do
        [ "$(sql "$node" 3 'SELECT pg_is_in_recovery()' 2>/dev/null || true)" = f ] || continue
        [ -z "$primary" ] || refuse "both $primary and $node are primaries: stop the one that isn't, and look again"
        primary=$node
    done
    [ -n "$primary" ] || refuse "neither server is a primary that can be reached"
    say "$primary is the primary"
}

# Also when it already has that value: what a killed look began may come after.
set_standbys() {
    sql "$primary" 3 "ALTER SYSTEM SET synchronous_standby_names = '$1'" >/dev/null &&
        sql "$primary" 3 'SELECT pg_reload_conf()' >/dev/null
}

# Exit codes: 0 nothing to do, 3 the primary doesn't answer, 4 promote.sh is to run.
look() {
    read_state
    [ -n "$primary" ] || find_primary
    standby=$(other "$primary")
    case $mode in handover*)
        say "a change of the primary to $standby was interrupted: promote.sh goes on from there"
        return 4
        ;;
    esac
    if ! found=$(sql "$primary" 1 "SELECT pg_is_in_recovery(), current_setting('synchronous_standby_names') <> '',
        coalesce(r.sync_state IN ('sync', 'quorum'), false), coalesce(r.state = 'streaming', false),
        CASE WHEN pg_is_in_recovery() THEN false
            ELSE coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), r.flush_lsn) < 16777216, false) END, coalesce(r.flush_lsn, '0/0')
        FROM (SELECT) one LEFT JOIN pg_stat_replication r ON r.application_name = '$standby'
        AND NOT pg_is_in_recovery() ORDER BY r.state = 'streaming' DESC NULLS LAST LIMIT 1" 2>/dev/null); then
        failures=$((failures + 1))
        [ "$failing_since" -ne 0 ] || failing_since=$(now)
        write_state || say "the state can't be written"
        say "$primary doesn't answer ($failures of $FAILURES, $mode)"
        [ "$failures" -lt "$FAILURES" ] || return 4
        return 3
    fi
    # shellcheck disable=SC2086  # its words
    set -- $found
    recovering=$1 waits=$2 confirms=$3 streams=$4 near=$5 lsn=$6
    [ "$recovering" = f ] || { say "$primary is in recovery. If it follows the other one now, remove $STATE_DIR/state"; return 0; }
    seen=$(now) failing_since=0 failures=0
    before=$mode
    if [ "$waits$confirms$streams" = ttt ]; then
        mode=sync flush_lsn=$lsn absent_since=0
    elif [ "$waits" = f ]; then
        mode=alone
        # Close enough, so that waiting for it will not be felt.
        if [ "$streams$near" = tt ]; then
            set_standbys "ANY 1 ($standby)" || say "couldn't make $standby synchronous"
        fi
    else
        # The primary waits, and what it acknowledged the standby has: still sync. Unless it is to go on without.
        [ "$absent_since" -ne 0 ] || absent_since=$seen
        say "$standby is away, and $primary waits for it"
        if [ "$STANDBY_LOST" = continue ] && [ $((seen - absent_since)) -ge "$STANDBY_LOST_SECONDS" ]; then
            if [ "$(sql "$standby" 2 'SELECT pg_is_in_recovery()' 2>/dev/null || true)" = f ]; then
                write_state
                say "$standby was promoted by other hands, so $primary doesn't go on alone. Run promote.sh, or stop $standby"
                return 0
            fi
            mode=alone
            write_state || return 1
            set_standbys '' || say "couldn't have $primary go on alone"
        fi
    fi
    write_state || { say "the state can't be written"; return 1; }
    [ "$before" = "$mode" ] || say "$primary: $mode"
}

# Held by this process alone: not by a `sleep` that outlives it.
exec 9>"$STATE_DIR/watch.lock"
flock -n 9 || refuse "another watch.sh runs"
while :; do
    code=0
    # While somebody promotes or switches, there is nothing to look at.
    ( flock -n 8 || exit 0; look ) 8>"$STATE_DIR/lock" 9>&- || code=$?
    if [ "$code" -eq 4 ] && [ "$AUTOMATIC" = yes ]; then
        "$here/promote.sh" --config "$config" 9>&- || say "nobody was promoted"
    fi
    [ "$once" = no ] || exit "$code"
    # A primary that doesn't answer is looked at more often.
    if [ "$code" -eq 0 ]; then sleep "$POLL_SECONDS" 9>&-; else sleep 0.5 9>&-; fi
done
