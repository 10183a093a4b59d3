#!/bin/sh
# A Redis that may be the master or a replica: the sentinels decide. `redis.sh NAME`; the first start of the
# installation makes `redis` the master. What the sentinels decide is written to /data/redis.conf and kept.
set -eu
name=$1
password=$(cut -d' ' -f2 /run/secrets/redis_auth)
umask 077
if [ ! -f /data/redis.conf ]; then
    {
        echo "include /usr/local/etc/redis/redis.conf"
        echo "masterauth $password"
        echo "replica-announce-ip $name"
        # A master that nobody follows takes nothing: it may be the one that was cut off.
        echo "min-replicas-to-write 1"
        echo "min-replicas-max-lag 10"
        if [ "$name" != redis ]; then echo "replicaof redis 6379"; fi
    } >/data/redis.conf
fi
exec redis-server /data/redis.conf
