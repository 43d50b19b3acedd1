#!/bin/sh
# Starts one node of the cluster: start-cluster.sh CONF, through start.sh. The first half of
# REDIS_CLUSTER_NODES (HOST:PORT,...) are masters at the first start, each with an equal part of the
# slots; the other half are their replicas, in the same order. REDIS_CLUSTER_NUMBER is the node's own
# place there, from 1. After that the cluster itself says who is who.
#
# So a master whose slots were all moved away stays one: $data/joined says that this node had its part.
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
is_member=no
if [ -e "$data/joined" ] && [ -s "$data/nodes.conf" ]; then is_member=yes; fi
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

# Of the clock that nobody sets. A round of questions to dead nodes takes many seconds.
now_s() { cut -d . -f 1 /proc/uptime; }

since_s=$(now_s)
has_told=no
while is_awaited; do
    if [ "$has_told" = no ]; then
        has_told=yes
        echo "This master may lack its last writes (data: $has_data)." \
            "It waits until a replica has taken its place." >&2
    fi
    if [ "$has_data" = yes ] && [ $(($(now_s) - since_s)) -ge "$wait_s" ]; then
        echo "Nobody took this master's place: it starts with what its own file has." >&2
        break
    fi
    sleep 1
done

# --- beside the server, which has this shell's process id ($$) ----------------------------------
# The ids of the masters that have slots of this node's part, out of CLUSTER NODES. 1: dead ones, too.
owners() {
    awk -v with_failed="${1:-0}" -v first="$first" -v last="$last" '
        $3 ~ /master/ && (with_failed || $3 !~ /fail/) {
            for (i = 9; i <= NF; i++) {
                split($i, range, "-")
                end = range[2] == "" ? range[1] : range[2]
                if ($i !~ /^\[/ && range[1] + 0 <= last && first <= end + 0) {print $1; next}
            }
        }'
}

# Whether the cluster is there, or everybody to make it. Where a slot is nobody's it is there all the
# same: somebody, dead or alive, has others of this node's part.
is_clear() {
    answering=0
    for peer in $peers; do
        seen=$(ask "$peer" CLUSTER NODES)
        if [ -n "$(echo "$seen" | owners 1)" ]; then
            is_formed=yes
            return 0
        fi
        if [ -n "$seen" ]; then answering=$((answering + 1)); fi
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

# `none`: it is a master of nothing. `some`: it has slots, or follows who has. Nothing: no answer.
own_part() {
    ask "$own" CLUSTER NODES \
        | awk '$3 ~ /myself/ {print ($3 ~ /master/ && NF == 8) ? "none" : "some"}'
}

take_part() {
    if [ "$is_formed" = no ] && [ "$number" -le "$masters" ]; then
        ask "$own" CLUSTER SET-CONFIG-EPOCH "$number"
        ask "$own" CLUSTER ADDSLOTSRANGE "$first" "$last"
    else
        ask "$own" CLUSTER REPLICATE "$(ask "$own" CLUSTER NODES | owners | head -n 1)"
    fi
}

pause() { sleep 1 && kill -0 $$ || exit; }

join() {
    until ask "$own" PING | grep -qx PONG; do pause; done
    if [ "$is_member" = yes ]; then
        meet_all
        return
    fi
    until part=$(own_part) && [ -n "$part" ]; do pause; done
    if [ "$part" = none ]; then
        until is_clear; do pause; done
        take_part
    fi
    meet_all
    until [ "$(own_part)" = some ]; do
        pause
        take_part
    done
    touch "$data/joined"
}
(join >/dev/null 2>&1 &)

exec sh "$(dirname "$0")/start.sh" "$conf"
