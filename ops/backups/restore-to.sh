#!/bin/sh
# Restore the database server to an instant, and back it up at once.
set -eu
home=$(cd "$(dirname "$0")" && pwd)

usage() {
    cat <<'END'
Usage: restore-to.sh INSTANT|latest --yes [--repo N] [--set LABEL] [--keep-old] [--timeline ID]
       restore-to.sh INSTANT|latest --into DIR --port PORT [--repo N] [--set LABEL] [--timeline ID]

  INSTANT        with its zone: "2026-11-27 12:00:00.123+00". What was committed until then comes back.
  latest         all that the archive holds
  --yes          in place: the server is stopped, its data become what they were at that instant
  --keep-old     move the data folder aside first instead of writing over what differs; needs as much room again
  --into DIR     a copy beside the server, to look into, on PORT of 127.0.0.1; it archives nothing
  --repo N       read from this repository (1 or 2); without it from the first that can
  --set LABEL    begin with this backup (pgbackrest.sh info lists them); without it with the newest before the instant
                 that met no page with a wrong checksum
  --timeline ID  follow this history of the server: to reach what an earlier restore left behind

In place it ends with a full backup into both repositories: until there is one, "restore latest" would start from a backup of
the history that was left. What was written after the instant stays in the archive: restore again to another instant.
Web and workers should be stopped meanwhile; replicas have to be made anew; files of that instant:
`manage.py restore_set --files-only --at INSTANT`.
END
}

[ "${1:-}" != --help ] || { usage; exit 0; }
# shellcheck source=host.sh
. "$home/host.sh"
[ $# -gt 0 ] || { usage >&2; exit 2; }
instant=$1
shift
yes=no old=overwrite into='' port='' repo='' backup='' timeline=''
while [ $# -gt 0 ]; do
    case $1 in
        --yes) yes=yes ;;
        --keep-old) old=keep ;;
        --into | --port | --repo | --set | --timeline)
            [ -n "${2:-}" ] || fail "$1 needs a value"
            case $1 in
                --into) into=$2 ;;
                --port) port=$2 ;;
                --repo) repo=$2 ;;
                --set) backup=$2 ;;
                --timeline) timeline=$2 ;;
            esac
            shift
            ;;
        *) fail "what is $1? See --help" ;;
    esac
    shift
done
[ -z "$repo" ] || one_of "$repo" 1 2 || fail "--repo is 1 or 2"
data=$PG_DATA
if [ -n "$into" ]; then
    case $into in /*) ;; *) fail "--into must be an absolute path" ;; esac
    [ -n "$port" ] || fail "--into needs --port"
    case $port in *[!0-9]*) fail "--port must be a number" ;; esac
    [ "$into" != "$PG_DATA" ] || fail "$into is the server's own folder: leave --into out to restore in place"
    [ ! -e "$into" ] || [ -z "$(ls -A "$into")" ] || fail "$into isn't empty"
    [ "$yes$old" = nooverwrite ] || fail "--yes and --keep-old are for restoring in place"
    data=$into
elif [ -n "$port" ]; then
    fail "--port is for a copy: --into DIR"
fi

# What there is to restore from.
holds=$(info "$repo") || fail "the repositories don't answer" 1
oldest=$(echo "$holds" | awk -F "$TAB" '$1 ~ /^0\.backup\.[0-9]+\.timestamp\.stop$/ { if (!least || $2 < least) least = $2 } END { print least }')
[ -n "$oldest" ] || fail "there is no backup in ${repo:+repository $repo}${repo:-the repositories}" 1
seconds=$(date +%s)
if [ "$instant" = latest ]; then
    set -- --type=default
else
    echo "$instant" | grep -Eq '^[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?[+-][0-9]{2}(:?[0-9]{2})?$' \
        || fail "write the instant with its zone, like \"2026-11-27 12:00:00.123+00\""
    seconds=$(date -d "$instant" +%s 2>/dev/null) || fail "there is no instant $instant"
    [ "$seconds" -le "$(date +%s)" ] || fail "$instant is yet to come"
    [ "$seconds" -ge "$oldest" ] || fail "the oldest backup ended at $(date -u -d "@$oldest" '+%F %T+00'): nothing before can be restored"
    set -- --type=time --target="$instant" --target-action=promote
fi
# pgBackRest would begin with the newest backup, whatever it met: damage that was backed up would come back with it.
if [ -z "$backup" ] && echo "$holds" | grep -Eq "^0\.backup\.[0-9]+\.error${TAB}true"; then
    backup=$(echo "$holds" | awk -F "$TAB" -v until="$seconds" '
        $1 ~ /^0\.backup\.[0-9]+\.(label|error|timestamp\.stop)$/ {
            split($1, part, "."); found[part[3], part[4]] = $2; if (part[3] + 0 > last) last = part[3] + 0
        }
        END {
            for (each = 0; each <= last; each++)
                if (found[each, "error"] != "true" && found[each, "timestamp"] <= until + 0) label = found[each, "label"]
            print label
        }')
    [ -n "$backup" ] || fail "every backup before that met pages with a wrong checksum: choose one with --set" 1
    say "beginning with $backup, which met no page with a wrong checksum"
fi
[ -z "$backup" ] || set -- "$@" --set="$backup"
[ -z "$timeline" ] || set -- "$@" --target-timeline="$timeline"
[ -z "$repo" ] || set -- "$@" --repo="$repo"

if [ -n "$into" ]; then
    say "restoring a copy to $instant in $into"
    run_pgbackrest --pg1-path="$into" --archive-mode=off "$@" restore
    # A copy waits for no replica and archives nothing.
    "$PG_BIN/pg_ctl" start -D "$into" -s -w -t 86400 -l "$LOGS/copy.log" -o "$PG_OPTIONS -c listen_addresses=127.0.0.1 -p $port \
        -c unix_socket_directories=$SPOOL -c archive_mode=off -c synchronous_standby_names= -c hot_standby=on" \
        || fail "the copy doesn't start: $(grep -E 'FATAL|HINT' "$LOGS/copy.log" | tail -n 2)" 1
    address=127.0.0.1
else
    [ "$yes" = yes ] || fail "this stops the server and sets $PG_DATA back to $instant: say --yes, or --into DIR to look first"
    address=$PG_SOCKET port=$PG_PORT
    if running "$PG_DATA"; then
        # What was written until now shall be in the archive: the instant may turn out to be the wrong one.
        say "archiving what was written until now, then stopping the server"
        run_pgbackrest check || say "the last writes could not be archived; going on" >&2
        if [ -n "$PG_STOP" ]; then sh -c "$PG_STOP"; else "$PG_BIN/pg_ctl" stop -D "$PG_DATA" -s -m fast -w -t 600; fi
        ! running "$PG_DATA" || fail "the server doesn't stop" 1
    fi
    rm -f "$PG_DATA/postmaster.pid"
    if [ "$old" = keep ] && [ -e "$PG_DATA" ]; then
        kept="$PG_DATA.before-$(date -u +%Y%m%dT%H%M%SZ)"
        mv "$PG_DATA" "$kept"
        say "the data until now are in $kept"
    fi
    if [ -f "$PG_DATA/PG_VERSION" ]; then
        set -- "$@" --delta
    elif [ -e "$PG_DATA" ] && [ -n "$(ls -A "$PG_DATA")" ]; then
        fail "$PG_DATA holds something that isn't a database: move it away" 1
    fi
    say "restoring to $instant in $PG_DATA"
    run_pgbackrest "$@" restore
    say "starting the server: it replays the archive"
    if [ -n "$PG_START" ]; then
        sh -c "$PG_START"
    else
        "$PG_BIN/pg_ctl" start -D "$PG_DATA" -s -w -t 86400 -l "$LOGS/server.log" -o "-p $PG_PORT $PG_OPTIONS"
    fi || fail "the server doesn't start: $(grep -hE 'FATAL|HINT' "$LOGS/server.log" 2>/dev/null | tail -n 2)
Was the instant after the archive's last commit? Then choose an earlier one, or latest." 1
fi

# It answers before it has replayed all.
until [ "$(sql 'SELECT pg_is_in_recovery()' "$address" "$port" 2>/dev/null || true)" = f ]; do
    running "$data" || fail "the server ended while it replayed the archive: $(grep -hE 'FATAL|HINT' "$LOGS/server.log" "$LOGS/copy.log" 2>/dev/null | tail -n 2)
Was the instant after the archive's last commit? Then choose an earlier one, or latest." 1
    sleep 0.2
done
say "the last commit that came back is of $(sql 'SELECT pg_last_xact_replay_timestamp()' "$address" "$port")"
[ -z "$into" ] || { say "the copy is at 127.0.0.1:$port; end it with: $PG_BIN/pg_ctl stop -D $into"; exit 0; }

standbys=$(sql 'SHOW synchronous_standby_names')
[ -z "$standbys" ] || say "commits wait for $standbys, whose history isn't this one any more: make it anew, or let commits not wait" >&2
"$home/backup.sh" full --no-verify || fail "the data are restored, but NOT backed up: repair that now, then run backup.sh full" 3
