#!/bin/sh
# Starts one Sentinel: start-sentinel.sh TEMPLATE. The template is used once: what Sentinel learned
# (its own id, the master of now) is in its copy and must survive a restart.
set -eu
umask 077
template=$1
sentinel_conf=${SENTINEL_CONF:-/data/sentinel.conf}

if [ ! -f "$sentinel_conf" ]; then
    password=$(cat "${REDIS_PASSWORD_FILE:-/run/secrets/redis_password}")
    {
        cat "$template"
        echo "requirepass $password"
        sed -n 's/^sentinel monitor \([^ ]*\) .*/\1/p' "$template" | while read -r watched; do
            echo "sentinel auth-pass $watched $password"
        done
        if [ -n "${SENTINEL_NAME:-}" ]; then echo "sentinel announce-ip $SENTINEL_NAME"; fi
    } >"$sentinel_conf.new"
    mv "$sentinel_conf.new" "$sentinel_conf"
fi

exec docker-entrypoint.sh redis-sentinel "$sentinel_conf"
