#!/bin/sh
# Back up the database server into the repositories, and look whether what lies there is whole.
set -eu
home=$(cd "$(dirname "$0")" && pwd)

usage() {
    cat <<'END'
Usage: backup.sh full|diff|incr|verify [--repo N] [--no-verify]

  full           everything
  diff           what changed since the last full backup
  incr           what changed since the last backup of any kind
  verify         no new backup, only the looking
  --repo N       into this repository only (1 or 2); without it into both
  --no-verify    don't read the repository back; for backups within the day

Then it asks whether a segment of the write-ahead log reaches the repositories (check), and reads every file of them
(verify). Ends with 1 when anything failed, also when pages with a wrong checksum were met, and leaves that in METRICS
for node-exporter. A repository that fails doesn't keep the other from its backup.
END
}

[ "${1:-}" != --help ] || { usage; exit 0; }
# shellcheck source=host.sh
. "$home/host.sh"
kind=${1:-}
one_of "$kind" full diff incr verify || { usage >&2; exit 2; }
shift
repos="1 2" verify=yes
while [ $# -gt 0 ]; do
    case $1 in
        --repo)
            one_of "${2:-}" 1 2 || fail "--repo is 1 or 2"
            repos=$2
            shift
            ;;
        --no-verify) verify=no ;;
        *) fail "what is $1? See --help" ;;
    esac
    shift
done

# One at a time; the next waits.
exec 9>"$SPOOL/locks/backup.lock"
flock -w 7200 9 || fail "another backup has been running for two hours" 1

# verified N: whether every file of a repository is what was put there. Some versions end with 0 whatever they find.
verified() {
    found=$(run_pgbackrest --repo="$1" --log-level-console=info --log-level-file=off verify 2>&1) || { echo "$found" >&2; return 1; }
    if echo "$found" | grep -Eq 'ERROR|status: error|(missing|checksum invalid|size invalid|other): *[1-9]'; then
        echo "$found" >&2
        return 1
    fi
}

# pages_whole N: whether the newest backup of a repository met no page with a wrong checksum.
pages_whole() {
    info "$1" | awk -F "$TAB" '
        $1 ~ /^0\.backup\.[0-9]+\.error$/ { split($1, part, "."); if (part[3] >= newest) { newest = part[3]; bad = $2 } }
        END { exit bad == "true" }'
}

# create_stanza: make a repository that is empty, as after a loss; nothing where it is there. While segments are archived
# that is refused with code 50, and soon not any more.
create_stanza() {
    for attempt in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do
        code=0
        found=$(run_pgbackrest stanza-create 2>&1) || code=$?
        [ "$code" = 50 ] || break
        sleep "$attempt"
    done
    [ "$code" = 0 ] || { echo "$found" >&2; return 1; }
}

failed=0
[ "$kind" = verify ] || create_stanza || { say "stanza-create failed" >&2; failed=1; }
for repo in $repos; do
    [ "$kind" != verify ] || continue
    say "$kind backup into repository $repo"
    if ! run_pgbackrest --repo="$repo" --type="$kind" backup; then
        say "the backup into repository $repo failed" >&2
        failed=1
    elif ! pages_whole "$repo"; then
        say "repository $repo: the server has pages with a wrong checksum; see the log in $LOGS, and restore" >&2
        failed=1
    fi
done
run_pgbackrest check || { say "the write-ahead log doesn't reach the repositories" >&2; failed=1; }
if [ "$verify" = yes ]; then
    for repo in $repos; do
        say "verifying repository $repo"
        verified "$repo" || { say "repository $repo is damaged" >&2; failed=1; }
    done
fi

if [ -n "$METRICS" ] && [ -d "$METRICS" ]; then
    for repo in $repos; do
        # Written beside, then moved: a scrape never sees half of it.
        cat > "$METRICS/quokkaq_pgbackrest_run_$repo.prom.new" <<END
# HELP quokkaq_pgbackrest_run_timestamp_seconds When backup.sh last ended.
# TYPE quokkaq_pgbackrest_run_timestamp_seconds gauge
quokkaq_pgbackrest_run_timestamp_seconds{repo="$repo"} $(date +%s)
# HELP quokkaq_pgbackrest_run_succeeded Whether backup, check and verification went well.
# TYPE quokkaq_pgbackrest_run_succeeded gauge
quokkaq_pgbackrest_run_succeeded{repo="$repo"} $((1 - failed))
END
        chmod 0644 "$METRICS/quokkaq_pgbackrest_run_$repo.prom.new"
        mv "$METRICS/quokkaq_pgbackrest_run_$repo.prom.new" "$METRICS/quokkaq_pgbackrest_run_$repo.prom"
    done
fi
"$home/status.sh" --metrics || true
[ "$failed" = 0 ] || fail "not everything went well; see above and $LOGS" 1
say "done"
