#!/bin/sh
# Starts one node of the cluster: start-cluster.sh CONF, through start.sh. The first half of
# REDIS_CLUSTER_NODES (HOST:PORT,...) are masters at the first start, each with an equal part of the
# slots; the other half are their replicas, in the same order. REDIS_CLUSTER_NUMBER is the node's own
# place there, from 1. After that the cluster itself says who is who.
#
# A master that comes back before it is missed may lack what its replicas have, and they would follow
# it again, at its address, be it another node by its id: it waits until a replica has taken its place,
# REDIS_ROLE_WAIT_S at most, for ever if it has no data. A node that comes without its disk finds its
# part taken then, and becomes a replica of whoever has it.
set -eu
conf=$1
data=$(dirname "${NODE_CONF:-/data/node.conf}")
password=$(cat "${REDIS_PASSWORD_FILE:-/run/secrets/redis_password}")
nodes=$(echo "$REDIS_CLUSTER_NODES" | tr , ' ')
number=$REDIS_CLUSTER_NUMBER
wait_s=${REDIS_ROLE_WAIT_S:-60}
count=$(echo "$nodes" | wc -w)
masters=$((count / 2))
own=$(echo "$nodes" | cut -d ' ' -f "$number")
peers=$(echo "$nodes" | tr ' ' '\n' | grep -vx "$own")
part=$(((number - 1) % masters))
first=$((16384 * part / masters))
last=$((16384 * (part + 1) / masters - 1))
# As process 1 a shell heeds no signal that it has no trap for.
trap 'exit 143' TERM

ask() {
    node=$1
    shift
    REDISCLI_AUTH=$password timeout 2 redis-cli --raw -h "${node%:*}" -p "${node##*:}" "$@" 2>/dev/null \
        | tr -d '\r' || true
}

address_of() { getent hosts "${1%:*}" | awk 'NR == 1 {print $1}'; }

# --- before the start --------------------------------------------------------------------------
has_data=no
if ls "$data"/appendonlydir/*.manifest >/dev/null 2>&1; then has_data=yes; fi
id=$(awk '$3 ~ /myself,master/ {print $1}' "$data/nodes.conf" 2>/dev/null || true)

# Whether a peer, whose INFO replication is $2, is a replica of this node.
is_own_replica() {
    if echo "$2" | grep -qx "master_host:$(address_of "$own")" \
        && echo "$2" | grep -qx "master_port:${own##*:}"; then return 0; fi
    ask "$1" CLUSTER NODES \
        | awk -v id="${id:-none}" '$3 ~ /myself,slave/ && $4 == id' | grep -q .
}

# Whether a replica lives that followed this node to its end and has not taken its place. One whose
# link was never up since it started (-1) has what its own file has.
is_awaited() {
    for peer in $peers; do
        info=$(ask "$peer" INFO replication)
        if ! echo "$info" | grep -qx role:slave || ! is_own_replica "$peer" "$info"; then
            continue
        fi
        if echo "$info" | grep -qE '^master_link_(status:up|down_since_seconds:[0-9]+)$'; then
            return 0
        fi
        if [ "$has_data" = no ] && ask "$peer" DBSIZE | grep -q '^[1-9]'; then return 0; fi
    done
    return 1
}

waited_s=0
while is_awaited; do
    if [ "$waited_s" -eq 0 ]; then
        echo "This master may lack its last writes (data: $has_data)." \
            "It waits until a replica has taken its place." >&2
    fi
    if [ "$has_data" = yes ] && [ "$waited_s" -ge "$wait_s" ]; then
        echo "Nobody took this master's place: it starts with what its own file has." >&2
        break
    fi
    sleep 1
    waited_s=$((waited_s + 1))
done

# --- beside the server, which has this shell's process id ($$) ----------------------------------
assigned_at() { ask "$1" CLUSTER INFO | sed -n 's/^cluster_slots_assigned://p'; }

# Whether the cluster is there, or everybody to make it.
is_clear() {
    answering=0
    for peer in $peers; do
        assigned=$(assigned_at "$peer")
        if [ "$assigned" = 16384 ]; then
            is_formed=yes
            return 0
        fi
        if [ -n "$assigned" ]; then answering=$((answering + 1)); fi
    done
    is_formed=no
    [ "$answering" -eq $((count - 1)) ]
}

# Containers get new addresses when they are made again. Who is known already is told the new one.
meet_all() {
    for peer in $peers; do
        address=$(address_of "$peer")
        bus=$(ask "$peer" CONFIG GET cluster-port | tail -n 1)
        if [ "${bus:-0}" = 0 ]; then bus=$((${peer##*:} + 10000)); fi
        if [ -n "$address" ]; then ask "$own" CLUSTER MEET "$address" "${peer##*:}" "$bus"; fi
    done
}

# The id of the master that has the first slot of this node's part.
owner() {
    ask "$own" CLUSTER NODES | awk -v slot="$first" '
        $3 ~ /master/ && $3 !~ /fail/ {
            for (i = 9; i <= NF; i++) {
                split($i, range, "-")
                end = range[2] == "" ? range[1] : range[2]
                if ($i !~ /^\[/ && range[1] + 0 <= slot && slot <= end + 0) print $1
            }
        }'
}

# Whether it is a master of nothing: it was never in the cluster, or comes without its disk.
has_no_part() { ask "$own" CLUSTER NODES | awk '$3 ~ /myself,master/ && NF == 8' | grep -q .; }

pause() { sleep 1 && kill -0 $$ || exit; }

join() {
    until ask "$own" PING | grep -qx PONG; do pause; done
    if has_no_part; then
        until is_clear; do pause; done
        if [ "$is_formed" = no ] && [ "$number" -le "$masters" ]; then
            ask "$own" CLUSTER SET-CONFIG-EPOCH "$number"
            ask "$own" CLUSTER ADDSLOTSRANGE "$first" "$last"
        fi
    fi
    meet_all
    while has_no_part; do
        ask "$own" CLUSTER REPLICATE "$(owner)"
        pause
    done
}
(join >/dev/null 2>&1 &)

exec sh "$(dirname "$0")/start.sh" "$conf"
