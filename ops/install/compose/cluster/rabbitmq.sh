#!/bin/sh
# The nodes of one cluster know each other by a common secret, a file that only the server may read.
set -eu
rm -f /var/lib/rabbitmq/.erlang.cookie
install -m 0400 /run/secrets/erlang_cookie /var/lib/rabbitmq/.erlang.cookie
exec docker-entrypoint.sh rabbitmq-server
