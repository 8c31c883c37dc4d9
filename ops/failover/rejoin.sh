#!/bin/sh
# Makes a former primary the standby of the one that took over.
set -eu

usage() {
    cat <<'TEXT'
rejoin.sh [--config FILE] NAME
Run on the server NAME (one of NODES), as the account that runs PostgreSQL, after the other one was promoted. Stops it if it runs, takes back
by pg_rewind what the other never got (nobody was told that it was saved), and follows. watch.sh then makes it synchronous.
Repeat it when it was interrupted. When it can't be rewound: make-standby.sh --replace NAME.
  --config FILE   default: /etc/quokkaq/failover.conf
TEXT
}

config=/etc/quokkaq/failover.conf node=''
while [ $# -gt 0 ]; do
    case $1 in
        --help) usage; exit 0 ;;
        --config) [ $# -gt 1 ] || { usage >&2; exit 2; }; config=$2; shift ;;
        -*) usage >&2; exit 2 ;;
        *) [ -z "$node" ] || { usage >&2; exit 2; }; node=$1 ;;
    esac
    shift
done
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=ops/failover/common.sh
. "$here/common.sh"
load_settings "$config"
is_node "$node" || { usage >&2; exit 2; }
source=$(other "$node")
[ -f "$PGDATA/PG_VERSION" ] || refuse "$PGDATA holds no database: make-standby.sh $node"
[ "$(sql "$source" 3 'SELECT pg_is_in_recovery()')" = f ] || refuse "$source is no primary that can be reached: nothing to follow"

# The one with the younger history is the primary. Whoever was promoted later must not be rewound to what was before.
timeline() { LC_ALL=C pg_controldata -D "$PGDATA" | sed -n "s/^Latest checkpoint's TimeLineID: *//p"; }
# Until its first checkpoint a promoted server still calls itself by its old timeline.
sql "$source" 120 CHECKPOINT >/dev/null
theirs=$(sql "$source" 3 'SELECT timeline_id FROM pg_control_checkpoint()')
[ "$(timeline)" -le "$theirs" ] || refuse "$node was promoted after $source: $node is the primary"
if [ "$(timeline)" -eq "$theirs" ] && [ ! -f "$PGDATA/standby.signal" ]; then
    refuse "$source was not promoted since $node was the primary: two servers of one history can't be told apart. Use make-standby.sh --replace"
fi

if pg_ctl status -D "$PGDATA" >/dev/null 2>&1; then NODE=$node sh -c "$LOCAL_STOP"; fi
set -- -R --target-pgdata "$PGDATA" --source-server "$(address "$source") user=$ADMIN_USER dbname=postgres application_name=$node"
[ -z "$PGCONFIG" ] || set -- "$@" --config-file "$PGCONFIG"
pg_rewind "$@" || refuse "it couldn't be rewound: make-standby.sh --replace $node"
sql "$source" 5 "SELECT pg_create_physical_replication_slot('$node', true)
    WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = '$node')" >/dev/null
# It wrote the account it used itself; following takes the other one.
cat >>"$PGDATA/postgresql.auto.conf" <<SETTINGS
primary_conninfo = '$(address "$source") user=$REPLICATION_USER application_name=$node'
primary_slot_name = '$node'
SETTINGS
NODE=$node sh -c "$LOCAL_START"
wait_until_it_streams "$node"
# From when it was the primary: a slot that nobody uses keeps WAL for ever.
sql "$node" 5 "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = '$source' AND NOT active" >/dev/null
