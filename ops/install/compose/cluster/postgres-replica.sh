#!/bin/sh
# A streaming replica of `postgres`: copied at its first start, and following from then on, until it is promoted.
set -eu
password=$(cat /run/secrets/replica_password)
source="host=postgres port=5432 user=vigil_replica password=$password application_name=vigil_replica"
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    mkdir -p "$PGDATA"
    chmod 0700 "$PGDATA"
    # -R writes standby.signal and where to follow; the slot was made with the login (docs/scaling.md).
    pg_basebackup -d "$source" -D "$PGDATA" -X stream -c fast -R -S vigil_replica
fi
exec postgres "$@"
