#!/bin/sh
# Makes the standby the primary when the primary is gone.
set -eu

usage() {
    cat <<'TEXT'
promote.sh [--config FILE] [--wait-for-standby] [--data-loss-accepted [--primary-is-off]]
Promotes the standby, if the primary is gone and the standby has all that was acknowledged; then points the pooler to it. Run it where watch.sh
runs. Repeat it when it was interrupted: it goes on where it stopped.
  --wait-for-standby     the new primary acknowledges nothing before a standby of its own has it. Without this it goes on alone until the
                         old primary has rejoined: usable at once, and in one copy only until then
  --data-loss-accepted   promote although the standby may lack what was acknowledged. The old primary must be off: FENCE_COMMAND has to succeed
  --primary-is-off       with the former: you made sure yourself, by pulling its plug
  --config FILE          default: /etc/quokkaq/failover.conf
TEXT
}

config=/etc/quokkaq/failover.conf loss=no off=no waiting=no
while [ $# -gt 0 ]; do
    case $1 in
        --help) usage; exit 0 ;;
        --data-loss-accepted) loss=yes ;;
        --primary-is-off) off=yes ;;
        --wait-for-standby) waiting=yes ;;
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
began=$(now)
read_state
[ -n "$primary" ] || refuse "nothing is known of the two servers: run watch.sh first"
standby=$(other "$primary")
names=''
[ "$waiting" = no ] || names="ANY 1 ($primary)"

recovering=$(sql "$standby" 3 'SELECT pg_is_in_recovery()') || refuse "$standby can't be reached"
missing=''
case $mode$recovering in
    handover_lossy*) missing="as was decided before" ;;
    # All was found well, and the decision stands, whoever came back since.
    handover*) say "a change of the primary to $standby was interrupted: going on from there" ;;
    # The old primary waits for this one, so it acknowledges nothing.
    syncf) say "$standby is promoted already: going on from there" ;;
    *f) refuse "$standby was promoted by other hands, and $primary may acknowledge. Stop one of them, then remove $STATE_DIR/state" ;;
esac
if [ "$mode$recovering" = synct ] || [ "$mode" = alone ]; then
    # Gone, as seen from here, from the standby, and from a third place if there is one.
    if sql "$primary" 1 'SELECT 1' >/dev/null 2>&1; then refuse "$primary answers: for a planned change use switch.sh"; fi
    if [ -n "$WITNESS_COMMAND" ] && hook 3 "$primary" "$WITNESS_COMMAND" >/dev/null 2>&1; then
        refuse "the witness reaches $primary"
    fi
    for try in 1 2 3 4 5 6; do
        heard=$(sql "$standby" 3 "SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'")
        [ "$heard" != 0 ] || break
        [ "$try" -lt 6 ] || refuse "$standby still hears $primary: only the way from here to it is cut"
        sleep 0.5
    done

    # Has it all that was acknowledged?
    [ "$mode" = sync ] || missing="when last seen, $primary acknowledged without $standby"
    [ "$failing_since" -ne 0 ] || failing_since=$began
    [ $((failing_since - seen)) -le "$STATE_MAX_SECONDS" ] || missing="nobody looked at $primary for too long before it failed"
    for try in 1 2 3 4 5 6; do
        # What it flushed before a restart it replays first.
        there=$(sql "$standby" 3 "SELECT greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) >= '$flush_lsn'::pg_lsn")
        [ "$there" != t ] || break
        [ "$try" -lt 6 ] || missing="$standby has not what it had confirmed up to $flush_lsn"
        sleep 0.5
    done
    [ -z "$missing" ] || [ "$loss" = yes ] || refuse "$missing. Bring $primary back, or lose data: --data-loss-accepted"
fi

fence() {
    if [ -n "$FENCE_COMMAND" ] && hook 5 "$primary" "$FENCE_COMMAND" >/dev/null 2>&1; then
        say "$primary is stopped"
    else
        say "$primary couldn't be stopped"
        return 1
    fi
}
say "promoting $standby${missing:+, AND DATA MAY BE LOST: $missing}"
if [ -n "$missing" ]; then
    fence || [ "$off" = yes ] || refuse "$primary may still acknowledge: pull its plug, then --primary-is-off"
    mode=handover_lossy
else
    # A primary that waits for this standby can't acknowledge any more. Stopping it spares who still reads there, and is no reason
    # to wait: a lost machine takes its time to say nothing.
    fence &
    mode=handover
fi
# Whatever happens from here on, nobody lets the old primary go on alone.
write_state
become_primary "$standby" "$names" || refuse "$standby couldn't be promoted: read its log, and repeat"
old=$primary
primary=$standby mode=alone seen=$(now) failing_since=0 failures=0 absent_since=0 flush_lsn=0/0
repoint "$primary"
write_state
# Where switch.sh was interrupted, clients are held back.
pooler_each RESUME 5 2>/dev/null || true
# Sessions that hang on a server that says nothing would do so until TCP gives up.
if [ -n "$POOLER" ]; then
    for try in 1 2 3 4; do
        hung=$(pooler_hung || echo 0)
        [ "$hung" != 0 ] || break
        if [ "$try" = 4 ]; then
            say "dropping $hung sessions that hang on $old"
            pooler_each KILL 5 && pooler_each RESUME 5
        else
            sleep 0.2
        fi
    done
fi
wait
say "$primary is the primary, $(($(now) - began)) s after this began. $old must rejoin: rejoin.sh $old"
