#!/bin/sh
# Starts a Ray node and stays in the foreground: `ray-node.sh OPTIONS OF ray start`.
# Ray itself takes a token of any length, and without RAY_AUTH_MODE=token none at all.
set -eu

fail() {
    echo "ray-node: $1" >&2
    exit 2
}

[ "${RAY_AUTH_MODE:-}" = token ] || fail "RAY_AUTH_MODE is not token: anybody on the network could run code here"
token=$(cat "${RAY_AUTH_TOKEN_PATH:-}" 2>/dev/null) || fail "no token in RAY_AUTH_TOKEN_PATH=${RAY_AUTH_TOKEN_PATH:-}: run make secrets"
[ "${#token}" -ge 32 ] || fail "the token in $RAY_AUTH_TOKEN_PATH has less than 32 characters: delete it and run make secrets"

# A node on several networks must be told which of its addresses the others reach.
if [ -n "${RAY_NODE_NAME:-}" ]; then
    address=$(getent ahostsv4 "$RAY_NODE_NAME" | cut -d ' ' -f 1 | head -n 1)
    [ -n "$address" ] || fail "RAY_NODE_NAME=$RAY_NODE_NAME has no address"
    set -- "$@" "--node-ip-address=$address"
fi
exec ray start --block --disable-usage-stats "$@"
