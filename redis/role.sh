# The role of a node when it starts, as most of the Sentinels that answer see it. Part of start.sh, in
# its shell: sets `role` to `replicaof HOST PORT`, to nothing for the master, and leaves it as it is when
# none answers, as at the first start.
#
# Who is still called the master here died a moment ago, and comes back before it is missed. It would
# have everybody follow it, however little it still has: its append-only file may lack up to two
# seconds of what its replicas had confirmed, and an empty disk would empty them all. So while a
# replica lives that followed it to the end, it waits to be replaced. After REDIS_ROLE_WAIT_S Sentinels
# must be missing, and it starts with what it has; one that has nothing waits until somebody decides
# (SENTINEL FAILOVER, or another volume).
#
# For the same reason Sentinels are kept from promoting a replica that was just started
# (replica-priority 0): it has what its file has, or nothing, until it has caught up.
port=$(sed -n 's/^port //p' "$(dirname "$conf")/redis.conf")
own=$REDIS_NODE_NAME:$port
# Sentinels that several groups share have a name for the master of each.
watched=${REDIS_SENTINEL_MASTER:-coinswarm}
wait_s=${REDIS_ROLE_WAIT_S:-60}
# As process 1 a shell heeds no signal that it has no trap for.
trap 'exit 143' TERM

# Of the clock that nobody sets. A round of questions to dead nodes takes many seconds.
now_s() { cut -d . -f 1 /proc/uptime; }

each_sentinel() {
    show=$1
    shift
    for url in $(echo "$REDIS_SENTINEL_URLS" | tr , ' '); do
        ask_url "$url" "$@" 2>/dev/null | $show || true
    done
}

# Not `redis-cli -u URL`: whoever lists the processes would read the password.
ask_url() (
    address=${1#*://}
    credentials=
    case $address in *@*) credentials=${address%@*} ;; esac
    address=${address##*@}
    address=${address%%/*}
    user=${credentials%%:*}
    tls=
    case $1 in rediss:*) tls=--tls ;; esac
    shift
    REDISCLI_AUTH=${credentials#*:}
    if [ -n "$REDISCLI_AUTH" ]; then export REDISCLI_AUTH; fi
    timeout 2 redis-cli --raw $tls ${user:+--user "$user"} \
        -h "${address%:*}" -p "${address##*:}" "$@"
)

# HOST:PORT of the master that most name.
named_master() {
    each_sentinel as_address SENTINEL GET-MASTER-ADDR-BY-NAME "$watched" \
        | grep -E '^[^ ]+:[0-9]+$' | sort | uniq -c | sort -rn | awk 'NR == 1 {print $2}'
}
as_address() { paste -s -d : -; }

# HOST:PORT of each replica that any Sentinel knows.
known_replicas() {
    each_sentinel as_addresses SENTINEL REPLICAS "$watched" | sort -u
}
as_addresses() {
    awk 'is_value {if (key == "ip") host = $0; if (key == "port") print host ":" $0}
         {is_value = !is_value; key = $0}'
}

ask() {
    node=$1
    shift
    REDISCLI_AUTH=$password timeout 2 redis-cli --raw -h "${node%:*}" -p "${node##*:}" "$@" 2>/dev/null \
        | tr -d '\r' || true
}

# Whether a node, by its INFO, has or had all of its master since it started: its link is up, or was
# (down since -1: it never was, so it has what its own file has). Or it has become master.
has_caught_up() {
    echo "$1" | grep -qE '^(role:master|master_link_status:up|master_link_down_since_seconds:[0-9]+)$'
}

# Whether a node has more than one that lost what it had last, or has become master already. One that
# lost everything takes any data for more, also what is being loaded, and waits a while for a node
# that does not answer: after a stop of all of them it may be the first to be back.
can_replace() {
    info=$(ask "$1" INFO)
    if has_caught_up "$info"; then return 0; fi
    if [ "$has_data" = yes ]; then return 1; fi
    if echo "$info" | grep -qE '^(db0:keys=|loading:1$)'; then return 0; fi
    [ -z "$info" ] && [ $(($(now_s) - since_s)) -lt "$wait_s" ]
}

replaceable() {
    for replica in $(known_replicas); do
        if can_replace "$replica"; then return 0; fi
    done
    return 1
}

has_data=no
if ls "$(dirname "$node_conf")"/appendonlydir/*.manifest >/dev/null 2>&1; then has_data=yes; fi
since_s=$(now_s)
has_told=no
while master=$(named_master) && [ "$master" = "$own" ] && replaceable; do
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
if [ "$master" = "$own" ]; then
    role=
elif [ -n "$master" ]; then
    role="replicaof ${master%:*} ${master##*:}"
fi

# Beside the server, which has this shell's process id ($$): it may be promoted when it has caught up,
# even if its master is dead by now, and with what its own file has, after all others, when there is
# no master for long. Until it was told so: one that was too busy to hear would never be promoted.
allow_promotion_later() {
    since_s=$(now_s)
    while sleep 1 && kill -0 $$; do
        if has_caught_up "$(ask "$own" INFO replication)"; then
            if ask "$own" CONFIG SET replica-priority 100 | grep -qx OK; then return; fi
        elif [ $(($(now_s) - since_s)) -gt "$wait_s" ] && ask "$own" DBSIZE | grep -q '^[1-9]'; then
            ask "$own" CONFIG SET replica-priority 200
        fi
    done
}
if [ -n "$role" ]; then
    role="$role
replica-priority 0"
    (allow_promotion_later >/dev/null 2>&1 &)
fi
