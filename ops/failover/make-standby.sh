#!/bin/sh
# Makes a standby of the other server: a copy of all it holds, that follows.
set -eu

usage() {
    cat <<'TEXT'
make-standby.sh [--config FILE] [--replace] NAME
Run on the server NAME (one of NODES), as the account that runs PostgreSQL. Copies the other server into PGDATA, which must be empty, starts, and
waits until it streams. watch.sh then makes it synchronous.
  --replace       stop the server here and delete what PGDATA holds first (when rejoin.sh can't)
  --config FILE   default: /etc/quokkaq/failover.conf
TEXT
}

config=/etc/quokkaq/failover.conf replace=no node=''
while [ $# -gt 0 ]; do
    case $1 in
        --help) usage; exit 0 ;;
        --replace) replace=yes ;;
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
[ "$(sql "$source" 3 'SELECT pg_is_in_recovery()')" = f ] || refuse "$source is no primary that can be reached: there is nothing to copy"

if [ -d "$PGDATA" ] && [ -n "$(ls -A "$PGDATA")" ]; then
    [ "$replace" = yes ] || refuse "$PGDATA isn't empty: rejoin.sh keeps it, --replace deletes it"
    [ -f "$PGDATA/PG_VERSION" ] || refuse "$PGDATA holds no database, so it isn't deleted"
    if pg_ctl status -D "$PGDATA" >/dev/null 2>&1; then NODE=$node sh -c "$LOCAL_STOP"; fi
    find "$PGDATA" -mindepth 1 -delete
fi
sql "$source" 5 "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = '$node' AND NOT active" >/dev/null
pg_basebackup -d "$(address "$source") user=$REPLICATION_USER application_name=$node" -D "$PGDATA" -X stream -c fast -R -C -S "$node"
NODE=$node sh -c "$LOCAL_START"
wait_until_it_streams "$node"
