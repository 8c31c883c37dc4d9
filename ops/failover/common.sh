# What the scripts beside this file share. Not run by itself.
# shellcheck shell=sh
# shellcheck disable=SC2034  # the scripts use these

say() { printf '%s %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$*" >&2; }
refuse() {
    say "refused: $*"
    exit 1
}
now() { date +%s; }

# load_settings FILE: read the settings, and check those that everything goes by.
load_settings() {
    [ -r "$1" ] || refuse "no settings in $1 (see failover.conf.example, or --config FILE)"
    NODES='' ADMIN_USER=postgres REPLICATION_USER=replicator STATE_DIR=/var/lib/quokkaq-failover
    PGBIN='' PGCONFIG='' WITNESS_COMMAND='' FENCE_COMMAND='' POOLER='' POOLER_FILE='' DATABASES=''
    AUTOMATIC=no POLL_SECONDS=1 FAILURES=3 STANDBY_LOST=continue STANDBY_LOST_SECONDS=3 STATE_MAX_SECONDS=60
    # shellcheck disable=SC1090
    . "$1"
    [ -z "$PGBIN" ] || PATH="$PGBIN:$PATH"
    export PATH
    # shellcheck disable=SC2086  # words of a list
    set -- $NODES
    [ $# -eq 2 ] && [ "$1" != "$2" ] || refuse "NODES must name two servers"
    for name in "$@"; do
        case $name in [!a-z]* | *[!a-z0-9_]*) refuse "a server's name has a-z, 0-9 and _ only: $name" ;; esac
        [ -n "$(address "$name")" ] || refuse "ADDRESS_$name is not set"
    done
    case $STANDBY_LOST in continue | wait) ;; *) refuse "STANDBY_LOST must be continue or wait" ;; esac
}

address() { eval "printf '%s' \"\${ADDRESS_$1:-}\""; }

is_node() { case " $NODES " in *" $1 "*) [ -n "$1" ] ;; *) return 1 ;; esac }

# The other one of the two.
other() {
    for name in $NODES; do
        [ "$name" = "$1" ] || printf '%s' "$name"
    done
}

# sql NODE SECONDS STATEMENT: values of a row are separated by spaces. A lost machine costs no more than these seconds.
sql() {
    # shellcheck disable=SC2016
    PGOPTIONS='-c synchronous_commit=local' timeout -k 1 "$2" psql -XAtq -F ' ' -v ON_ERROR_STOP=1 -c "$3" \
        "$(address "$1") user=$ADMIN_USER dbname=postgres connect_timeout=2 application_name=quokkaq_failover" </dev/null
}

# hook SECONDS NODE COMMAND. Locks aren't handed on: a server it starts would hold them for ever.
hook() { NODE="$2" timeout -k 1 "$1" sh -c "$3" </dev/null 8>&- 9>&-; }

# The state: who is the primary, whether the other one has all that was acknowledged (sync),
# may not (alone) or is about to take over (handover), and when that was seen.
read_state() {
    primary='' mode=alone seen=0 failing_since=0 failures=0 absent_since=0 flush_lsn=0/0
    # shellcheck disable=SC1091
    [ ! -r "$STATE_DIR/state" ] || . "$STATE_DIR/state"
}

write_state() {
    cat >"$STATE_DIR/state.new" <<STATE || return 1
primary=$primary
mode=$mode
seen=$seen
failing_since=$failing_since
failures=$failures
absent_since=$absent_since
flush_lsn=$flush_lsn
STATE
    sync "$STATE_DIR/state.new" && mv "$STATE_DIR/state.new" "$STATE_DIR/state"
}

# One at a time changes who is the primary. The lock is file descriptor 8.
lock_state() {
    mkdir -p "$STATE_DIR"
    exec 8>"$STATE_DIR/lock"
    flock -w "$1" 8 || refuse "somebody else is at it (the lock $STATE_DIR/lock is taken)"
}

pooler() { [ -z "$POOLER" ] || timeout -k 1 "${2:-5}" psql -XAtq -c "$1" "$POOLER" </dev/null >/dev/null; }

# pooler_each COMMAND SECONDS: for each database.
pooler_each() {
    for database in $DATABASES; do
        pooler "$1 $database" "$2" || return 1
    done
}

# Connections that still go where the databases were before.
pooler_hung() {
    timeout -k 1 5 psql -XAq -F '|' -c 'SHOW SERVERS' "$POOLER" </dev/null |
        awk -F '|' 'NR == 1 { for (i = 1; i <= NF; i++) column[$i] = i; next } $column["close_needed"] == 1 { n++ } END { print n + 0 }'
}

# repoint NODE: the pooler's databases are there from now on.
repoint() {
    [ -n "$POOLER_FILE" ] || return 0
    {
        echo "; Written by ops/failover: the primary is $1."
        echo "[databases]"
        for database in $DATABASES; do
            echo "$database = $(address "$1") dbname=$database"
            # For the worker's LISTEN. Nobody waits for its sessions: they break when the server ends, and are made anew.
            echo "${database}_session = $(address "$1") dbname=$database pool_mode=session"
        done
    } >"$POOLER_FILE.new"
    mv "$POOLER_FILE.new" "$POOLER_FILE"
    pooler RELOAD || say "the pooler didn't take its new addresses: RELOAD it by hand"
}

# become_primary NODE: promote a standby, and have it keep what the other one will need to follow.
become_primary() {
    sql "$1" 5 "ALTER SYSTEM SET synchronous_standby_names = '$2'" >/dev/null || return 1
    sql "$1" 5 "SELECT pg_reload_conf()" >/dev/null || return 1
    if [ "$(sql "$1" 5 'SELECT pg_is_in_recovery()')" = t ]; then
        [ "$(sql "$1" 35 'SELECT pg_promote(true, 30)')" = t ] || return 1
    fi
    # A transaction that commits proves that it writes.
    sql "$1" 5 "SELECT pg_logical_emit_message(true, 'quokkaq', 'primary')" >/dev/null || return 1
    sql "$1" 5 "SELECT pg_create_physical_replication_slot('$(other "$1")', true)
        WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = '$(other "$1")')" >/dev/null
}

# wait_until_it_streams NODE: from the other one, on its timeline.
wait_until_it_streams() {
    for try in $(seq 1 120); do
        streams=$(sql "$(other "$1")" 3 "SELECT count(*) FROM pg_stat_replication WHERE application_name = '$1' AND state = 'streaming'" || echo 0)
        if [ "$streams" = 1 ]; then
            say "$1 follows $(other "$1") on timeline $(sql "$1" 3 'SELECT received_tli FROM pg_stat_wal_receiver')"
            return 0
        fi
        sleep 0.5
    done
    refuse "$1 runs and doesn't stream: read its log"
}
