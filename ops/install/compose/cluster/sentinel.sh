#!/bin/sh
# A sentinel; it keeps what it learns in /data/sentinel.conf.
set -eu
name=$1
password=$(cut -d' ' -f2 /run/secrets/redis_auth)
umask 077
if [ ! -f /data/sentinel.conf ]; then
    {
        echo "port 26379"
        echo "dir /data"
        echo "sentinel resolve-hostnames yes"
        echo "sentinel announce-hostnames yes"
        echo "sentinel announce-ip $name"
        # Two of three must agree that the master is gone.
        echo "sentinel monitor mymaster redis 6379 2"
        echo "sentinel auth-pass mymaster $password"
        echo "sentinel down-after-milliseconds mymaster 5000"
        echo "sentinel failover-timeout mymaster 30000"
    } >/data/sentinel.conf
fi
exec redis-server /data/sentinel.conf --sentinel
