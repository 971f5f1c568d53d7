#!/bin/sh
# Runs a Ray node until it is told to end: `ray-node.sh OPTIONS OF ray start`.
#
# Ray takes a token of any length, and without RAY_AUTH_MODE=token none at all. When it is told to end, it drains the
# node for 30 s; trials do not hear of that, and would lose what they have trained since their last checkpoint. So this
# script stays between the signal and Ray: on SIGTERM, SIGINT or SIGUSR1 trials save a checkpoint after their epoch.
# Whoever sends the signal should wait for 45 s. With RAY_NODE_ALONE=1, which says that a container holds nothing but
# this node, drivers of studies end in order before.
set -eu

LEAST_MB=1500      # of memory: Ray's own processes take 400 MB, a small trial as much again

fail() {
    echo "ray-node: $1" >&2
    exit 2
}

[ "${RAY_AUTH_MODE:-}" = token ] || fail "RAY_AUTH_MODE is not token: anybody on the network could run code here"
token=${RAY_AUTH_TOKEN:-$(cat "${RAY_AUTH_TOKEN_PATH:-}" 2> /dev/null)} ||
    fail "no token in RAY_AUTH_TOKEN_PATH=${RAY_AUTH_TOKEN_PATH:-}: run make secrets"
[ "${#token}" -ge 32 ] ||
    fail "the token in ${RAY_AUTH_TOKEN_PATH:-RAY_AUTH_TOKEN} has less than 32 characters: delete it and run make secrets"

for file in /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes; do
    limit=$(cat "$file" 2>/dev/null) || continue
    case $limit in
        *[!0-9]*) ;;  # "max"
        *) [ "$((limit / 1000000))" -ge "$LEAST_MB" ] ||
            fail "this node may use $((limit / 1000000)) MB of memory, and needs $LEAST_MB: raise its limit (HEAD_MEMORY or WORKER_MEMORY in .env)" ;;
    esac
done

# A node on several networks must be told which of its addresses the others reach.
if [ -n "${RAY_NODE_NAME:-}" ]; then
    address=$(getent ahostsv4 "$RAY_NODE_NAME" | cut -d ' ' -f 1 | head -n 1)
    [ -n "$address" ] || fail "RAY_NODE_NAME=$RAY_NODE_NAME has no address"
    set -- "$@" "--node-ip-address=$address"
fi

# The compose files give an empty option for a setting that is not made.
for option do
    shift
    [ -z "$option" ] || set -- "$@" "$option"
done

# Trials look for this file after each epoch (study.tuning.leaving).
STUDY_LEAVING=${TMPDIR:-/tmp}/ray-node-$$.leaving
export STUDY_LEAVING
rm -f "$STUDY_LEAVING"

drivers() {
    [ -n "${RAY_NODE_ALONE:-}" ] || return 0
    for process in /proc/[0-9]*; do
        tr '\0' ' ' 2> /dev/null < "$process/cmdline" | grep -q 'study[. ]run ' && echo "${process#/proc/}"
    done 2> /dev/null || true
}

ray start --block --disable-usage-stats "$@" &
ray=$!

leave() {
    trap '' TERM INT USR1
    touch "$STUDY_LEAVING"
    for driver in $(drivers); do
        kill -TERM "$driver" 2> /dev/null || true
    done
    seconds=0
    while [ -n "$(drivers)" ] && [ "$seconds" -lt 40 ]; do
        sleep 1
        seconds=$((seconds + 1))
    done
    kill -TERM "$ray" 2> /dev/null || true
}
trap leave TERM INT USR1

# A signal ends `wait`, so it is called again until Ray has ended.
while kill -0 "$ray" 2>/dev/null; do
    status=0
    wait "$ray" || status=$?
done
rm -f "$STUDY_LEAVING"
exit "$status"
