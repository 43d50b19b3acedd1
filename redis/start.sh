#!/bin/sh
# Starts one Redis node: start.sh CONF. Writes the node's own configuration, which Redis may
# rewrite, from four things: CONF (with engine-8.4.conf beside it, if it is there), the password, the
# variables REDIS_..., and the role that Redis wrote down last (a node that was promoted or demoted stays so when its container starts again).
# Everything but the role is taken anew at each start, so a change of CONF takes effect. Where there
# are Sentinels (REDIS_SENTINEL_URLS) they are asked for the role: role.sh.
set -eu
umask 077
conf=$1
node_conf=${NODE_CONF:-/data/node.conf}
password=$(cat "${REDIS_PASSWORD_FILE:-/run/secrets/redis_password}")

case $password in
'' | *[!A-Za-z0-9._~-]*)
    echo "REDIS_PASSWORD must be set, of letters, digits and . _ ~ - only: it is part of an address" >&2
    exit 1
    ;;
esac

role_from=$conf
if [ -f "$node_conf" ]; then role_from=$node_conf; fi
role=$(grep '^replicaof ' "$role_from" || true)
if [ -n "${REDIS_SENTINEL_URLS:-}" ] && [ -n "${REDIS_NODE_NAME:-}" ]; then
    . "$(dirname "$0")/role.sh"
fi

{
    grep -v '^replicaof ' "$conf"
    if [ -f "$(dirname "$conf")/engine-8.4.conf" ]; then
        cat "$(dirname "$conf")/engine-8.4.conf"
    fi
    echo "$role"
    echo "requirepass $password"
    echo "masterauth $password"
    if [ -n "${REDIS_NODE_NAME:-}" ]; then echo "replica-announce-ip $REDIS_NODE_NAME"; fi
    if [ -n "${REDIS_MAXMEMORY:-}" ]; then echo "maxmemory $REDIS_MAXMEMORY"; fi
    if [ -n "${REDIS_IO_THREADS:-}" ]; then echo "io-threads $REDIS_IO_THREADS"; fi
    if [ -n "${REDIS_MIN_REPLICAS_TO_WRITE:-}" ]; then
        echo "min-replicas-to-write $REDIS_MIN_REPLICAS_TO_WRITE"
    fi
} >"$node_conf.new"
mv "$node_conf.new" "$node_conf"

# Through the image's entrypoint: it is what loads the query engine.
exec docker-entrypoint.sh redis-server "$node_conf"
