#!/bin/sh
# What lies in the repositories and what is still on its way there.
set -eu
home=$(cd "$(dirname "$0")" && pwd)

usage() {
    cat <<'END'
Usage: status.sh [--json|--metrics]

  --json       one JSON object
  --metrics    writes METRICS/quokkaq_pgbackrest.prom for node-exporter's textfile collector, and prints nothing

Ends with 1 when a repository has no backup or an error, or when the write-ahead log doesn't get there.
END
}

[ "${1:-}" != --help ] || { usage; exit 0; }
# shellcheck source=host.sh
. "$home/host.sh"
as=${1:-text}
one_of "$as" text --json --metrics || { usage >&2; exit 2; }

now=$(date +%s)
# of REPO: what a repository holds, as eight words: state, label and kind of the newest backup, when it ended, bytes of the
# database, bytes in the repository, whether pages were whole, the instant from which on anything can be restored.
of() {
    info "$1" 2>/dev/null | awk -F "$TAB" '
        $1 == "0.repo.0.status.code" { state = $2 == 0 ? "ok" : $2 == 2 ? "empty" : "error" }
        $1 ~ /^0\.backup\.[0-9]+\./ {
            split($1, part, "."); number = part[3]; name = $1; sub(/^0\.backup\.[0-9]+\./, "", name)
            found[number, name] = $2
            if (number > last) last = number
            if (name == "timestamp.stop" && (!first || $2 < first)) first = $2
        }
        function or(value, other) { return value == "" ? other : value }
        END {
            print or(state, "error"), or(found[last + 0, "label"], "-"), or(found[last + 0, "type"], "-"), \
                or(found[last + 0, "timestamp.stop"], 0), or(found[last + 0, "info.size"], 0), \
                or(found[last + 0, "info.repository.delta"], 0), \
                found[last + 0, "error"] == "true" ? "no" : "yes", or(first, 0)
        }' || echo "error - - 0 0 0 yes 0"
}
one=$(of 1) two=$(of 2)
# Segments that wait, seconds since one was archived, failures since the server's statistics began, checksums.
server=$(sql "SELECT (SELECT count(*) FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready'), coalesce(extract(epoch FROM now() - last_archived_time)::int, -1), failed_count, current_setting('data_checksums') FROM pg_stat_archiver" 2>/dev/null | tr '|' ' ') || server=''
[ -n "$server" ] || server='-1 -1 -1 unknown'

# field N WORDS…: one of them.
field() { number=$1; shift; eval "printf %s \"\${$number}\""; }

bad=0
for line in "$one" "$two"; do
    # shellcheck disable=SC2086
    [ "$(field 1 $line)" = ok ] && [ "$(field 7 $line)" = yes ] || bad=1
done
# shellcheck disable=SC2086
waiting=$(field 1 $server) archived=$(field 2 $server) failures=$(field 3 $server) checksums=$(field 4 $server)
[ "$waiting" -ge 0 ] && [ "$waiting" -le 8 ] && [ "$checksums" = on ] || bad=1

json() {
    # shellcheck disable=SC2086
    printf '{"state": "%s", "backup": "%s", "kind": "%s", "age_seconds": %s, "database_bytes": %s, "repository_bytes": %s, "pages_whole": "%s", "restorable_since": %s}' \
        "$(field 1 $1)" "$(field 2 $1)" "$(field 3 $1)" "$((now - $(field 4 $1)))" "$(field 5 $1)" "$(field 6 $1)" "$(field 7 $1)" "$(field 8 $1)"
}

# metric NAME HELP FIELD [VALUE when the field is…]: a gauge of both repositories.
metric() {
    echo "# HELP quokkaq_pgbackrest_$1 $2"
    echo "# TYPE quokkaq_pgbackrest_$1 gauge"
    # shellcheck disable=SC2086
    for repo in 1 2; do
        [ $repo = 1 ] && line=$one || line=$two
        value=$(field "$3" $line)
        case $value in ok | yes) value=1 ;; empty | error | no) value=0 ;; esac
        echo "quokkaq_pgbackrest_$1{repo=\"$repo\"} $value"
    done
}

case $as in
    --json)
        printf '{"repositories": {"1": %s, "2": %s}, "segments_waiting": %s, "archived_seconds_ago": %s, "archive_failures": %s, "checksums": "%s", "well": %s}\n' \
            "$(json "$one")" "$(json "$two")" "$waiting" "$archived" "$failures" "$checksums" "$([ $bad = 0 ] && echo true || echo false)"
        ;;
    --metrics)
        [ -n "$METRICS" ] && [ -d "$METRICS" ] || exit $bad
        {
            metric repository_ok "Whether the repository answers and holds a backup." 1
            metric backup_timestamp_seconds "When the newest backup ended." 4
            metric database_bytes "Size of the database in the newest backup." 5
            metric repository_bytes "What the newest backup added to the repository." 6
            metric pages_whole "Whether the newest backup met no page with a wrong checksum." 7
            metric restorable_since_timestamp_seconds "The oldest instant that can be restored." 8
            echo "# HELP quokkaq_pgbackrest_segments_waiting Segments of the write-ahead log that aren't archived; -1: the server is away."
            echo "# TYPE quokkaq_pgbackrest_segments_waiting gauge"
            echo "quokkaq_pgbackrest_segments_waiting $waiting"
            echo "# HELP quokkaq_pgbackrest_archive_failures_total Tries to archive that failed."
            echo "# TYPE quokkaq_pgbackrest_archive_failures_total counter"
            echo "quokkaq_pgbackrest_archive_failures_total $failures"
        } > "$METRICS/quokkaq_pgbackrest.prom.new"
        chmod 0644 "$METRICS/quokkaq_pgbackrest.prom.new"
        mv "$METRICS/quokkaq_pgbackrest.prom.new" "$METRICS/quokkaq_pgbackrest.prom"
        ;;
    *)
        for repo in 1 2; do
            [ $repo = 1 ] && line=$one || line=$two
            # shellcheck disable=SC2086
            if [ "$(field 4 $line)" = 0 ]; then
                echo "repository $repo: $(field 1 $line), no backup"
            else
                echo "repository $repo: $(field 1 $line), newest backup $(field 2 $line) ended $(( (now - $(field 4 $line)) / 60 )) min ago," \
                    "database $(( $(field 5 $line) / 1048576 )) MB, added $(( $(field 6 $line) / 1048576 )) MB," \
                    "restorable since $(date -u -d "@$(field 8 $line)" '+%F %T+00')$([ "$(field 7 $line)" = yes ] || echo ", PAGES WITH WRONG CHECKSUMS")"
            fi
        done
        [ "$waiting" -ge 0 ] || echo "the server doesn't answer"
        [ "$waiting" -lt 0 ] || echo "write-ahead log: $waiting segments wait, the last was archived $archived s ago, $failures failures, checksums $checksums"
        ;;
esac
exit $bad
