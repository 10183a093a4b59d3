#!/usr/bin/env bash
# Installs Vigil on a bare Debian 12 with systemd: packages, users, servers, secrets, database, broker, units, smoke test.
# Each step looks first; said again, it changes nothing that is right already, and brings a newer tree into place.
set -euo pipefail

usage() {
    cat <<'END'
usage: ops/install/install.sh --mqtt-host NAME --public-url URL [options]

  --mqtt-host NAME        the name in the broker's certificate: what devices connect to
  --public-url URL        where phones and providers reach the control room (https://...)
  --dry-run               tell every step, and do nothing
  --no-systemd            neither packages, users nor units: files only; start the processes yourself
  --root DIR              put everything under DIR instead of / (with --no-systemd)
  --site-packages DIR     borrow Python packages from DIR instead of installing requirements.lock (fast, without a network)
  --https-port PORT       443        --redirect-port PORT          80 (sends browsers on to HTTPS)
  --http-port PORT        8000 (plain, this machine only: HAProxy)
  --feed-port PORT        8001       --api-port PORT               8002 (plain, this machine only: behind HAProxy)
  --mqtt-port PORT        1883 (plain, this machine only)
  --mqtts-port PORT       8883 (TLS) --mqtts-certificate-port PORT 8884 (TLS, client certificates)
  --postgres HOST:PORT    127.0.0.1:5432
  --amqp HOST:PORT        127.0.0.1:5672
  --redis HOST:PORT       127.0.0.1:6379
  --servers-elsewhere     PostgreSQL, RabbitMQ and Redis are there already: put amqp_uri, redis_url, database_url,
                          vigil_owner_database_url and vigil_superuser_database_url into DIR/etc/vigil/secrets first
END
}

die() { echo "install: $*" >&2; exit 1; }

source_tree=$(cd "$(dirname "$0")/../.." && pwd)
python=${PYTHON:-python3}
root='' dry_run=no systemd=yes site_packages='' elsewhere=no mqtt_host='' public_url=''
http_port=8000 feed_port=8001 api_port=8002 https_port=443 redirect_port=80
mqtt_port=1883 mqtts_port=8883 certificate_port=8884
postgres=127.0.0.1:5432 amqp=127.0.0.1:5672 redis=127.0.0.1:6379
while [ $# -gt 0 ]; do
    case $1 in
        --dry-run) dry_run=yes ;;
        --no-systemd) systemd=no ;;
        --servers-elsewhere) elsewhere=yes ;;
        --help | -h) usage; exit 0 ;;
        --root | --site-packages | --mqtt-host | --public-url | --postgres | --amqp | --redis | --*-port)
            [ $# -ge 2 ] || die "$1 needs a value; --help tells"
            case $1 in
                --root) root=${2%/} ;;
                --site-packages) site_packages=$2 ;;
                --mqtt-host) mqtt_host=$2 ;;
                --public-url) public_url=$2 ;;
                --postgres) postgres=$2 ;;
                --amqp) amqp=$2 ;;
                --redis) redis=$2 ;;
                --http-port) http_port=$2 ;;
                --https-port) https_port=$2 ;;
                --redirect-port) redirect_port=$2 ;;
                --feed-port) feed_port=$2 ;;
                --api-port) api_port=$2 ;;
                --mqtt-port) mqtt_port=$2 ;;
                --mqtts-port) mqtts_port=$2 ;;
                --mqtts-certificate-port) certificate_port=$2 ;;
                *) die "$1 is not known; --help tells what is" ;;
            esac
            shift
            ;;
        *) die "$1 is not known; --help tells what is" ;;
    esac
    shift
done
[ -n "$mqtt_host" ] || die "--mqtt-host is missing: the name that devices connect to"
[ -n "$public_url" ] || die "--public-url is missing: where phones and providers reach the control room"
[ $systemd = no ] || [ -z "$root" ] || die "--root is for --no-systemd: systemd runs what is under /"
[ $systemd = no ] || [ $dry_run = yes ] || [ "$(id -u)" = 0 ] || die "run it as root, or with --no-systemd --root DIR"

opt=$root/opt/vigil etc=$root/etc/vigil state=$root/var/lib/vigil broker=$root/var/lib/vigil-broker
authority=$root/etc/vigil/authority edge=$root/etc/vigil/edge units=$root/etc/systemd/system secrets=$root/etc/vigil/secrets
admin=$root/usr/local/sbin/vigil-admin
PACKAGES=(python3 python3-venv postgresql-15 postgresql-15-postgis-3 rabbitmq-server redis-server mosquitto mosquitto-clients haproxy)
TREE=(services gateway ops migrations console docs sdk config.yaml setup.cfg pyproject.toml requirements.lock README.md)

step() { # step TITLE COMMAND...: say it, do it unless this is a dry run
    local title=$1 started=$SECONDS
    shift
    if [ $dry_run = yes ]; then
        echo "install: would do: $title"
        return
    fi
    echo "install: $title ..."
    "$@" || die "$title failed; the lines above say why. Mend it and run the same command again."
    echo "install: $title done in $((SECONDS - started)) s"
}

install_packages() { DEBIAN_FRONTEND=noninteractive apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${PACKAGES[@]}"; }

make_user() { id vigil >/dev/null 2>&1 || useradd --system --home-dir /var/lib/vigil --no-create-home --shell /usr/sbin/nologin vigil; }

# Every address of the machine: of IPv6 too, unless it has none.
everywhere() { # everywhere PORT
    if [ -s /proc/net/if_inet6 ]; then echo ":$1,[::]:$1"; else echo ":$1"; fi
}

make_directories() {
    install -d -m 0755 "$opt" "$etc" "$units" "$(dirname "$admin")" &&
        install -d -m 0700 "$secrets" "$authority" "$root/var/backups/vigil" "$root/var/backups/vigil-keys" &&
        install -d -m 0750 "$state" "$broker" "$edge" &&
        { [ $systemd = no ] || { chown vigil:vigil "$state" && chown mosquitto:mosquitto "$broker" && chown root:haproxy "$edge"; }; }
}

# Beside the old tree, then in its place: a process that is started meanwhile finds one of the two, whole.
copy_tree() {
    local fresh=$opt/.new name
    rm -rf "$fresh" && mkdir "$fresh" || return
    # What tools leave behind stays behind; some of it is not for every user to read.
    tar -C "$source_tree" --exclude=__pycache__ --exclude=.hypothesis --exclude='.*_cache' --exclude='*.egg-info' \
        -cf - "${TREE[@]}" | tar -C "$fresh" --no-same-owner -xf - || return
    chmod -R u=rwX,go=rX "$fresh" || return
    for name in "${TREE[@]}"; do
        rm -rf "${opt:?}/$name" && mv "$fresh/$name" "$opt/$name" || return
    done
    rmdir "$fresh"
}

make_environment() {
    local stamp
    stamp=$(cat "$opt/requirements.lock" - <<<"$site_packages vigil_device" | sha256sum)
    [ "$(cat "$opt/.venv/.stamp" 2>/dev/null)" != "$stamp" ] || return 0
    if [ -n "$site_packages" ]; then
        "$python" -m venv --clear --without-pip "$opt/.venv" &&
            echo "$site_packages" >"$(echo "$opt"/.venv/lib/python3.*/site-packages)/borrowed.pth" || return
    else
        "$python" -m venv --clear "$opt/.venv" &&
            "$opt/.venv/bin/python" -m pip install -q --require-hashes --no-deps -r "$opt/requirements.lock" || return
    fi
    echo "$opt/sdk/python" >"$(echo "$opt"/.venv/lib/python3.*/site-packages)/vigil_device.pth" &&
        echo "$stamp" >"$opt/.venv/.stamp"
}

# The operator's command: every setting and every secret, the owner's among them; for root alone.
write_admin() {
    cat >"$admin" <<END
#!/usr/bin/env bash
# Runs an operator's command of Vigil: vigil-admin health
set -euo pipefail
mapfile -t settings < <(grep -hE '^[A-Z0-9_]+=' "$etc/vigil.env" "$etc/operator.env")
cd "$opt"
exec env "\${settings[@]}" "$opt/.venv/bin/python" -W ignore::DeprecationWarning -m ops.cli "\$@"
END
    chmod 0755 "$admin"
}

write_settings() {
    [ -f "$etc/vigil.env" ] || cat >"$etc/vigil.env" <<END
# Settings of Vigil; .env.example tells all there are. Secrets are files in $secrets.
VIGIL_ENV=production
VIGIL_REGISTRATION=closed
VIGIL_HOME=$state
VIGIL_PUBLIC_URL=$public_url
VIGIL_HTTP_HOST=127.0.0.1
VIGIL_HTTP_PORT=$http_port
MQTT_BROKER_ADDRESS=127.0.0.1
MQTT_BROKER_PORT=$mqtt_port
MQTT_BROKER_USERNAME=vigil-gateway
PROMETHEUS_ALLOWED_IPS=127.0.0.1/32,::1/128
VIGIL_BACKUP_DIR=$root/var/backups/vigil
VIGIL_WATCHED_CERTIFICATES=$etc/mqtt-ca.pem,127.0.0.1:$mqtts_port,127.0.0.1:$https_port
VIGIL_LOG_LEVEL=INFO
# The HTTP edge, HAProxy: docs/edge.md. Its certificate may be replaced by one of a public authority.
VIGIL_FEED_PORT=$feed_port
VIGIL_API_PORT=$api_port
VIGIL_EDGE_CERTIFICATE=$edge/certificate.pem
VIGIL_EDGE_TLS_BIND=$(everywhere "$https_port")
VIGIL_EDGE_REDIRECT_BIND=$(everywhere "$redirect_port")
VIGIL_TRUSTED_PROXIES=127.0.0.1/32,::1/128
END
    # Of an installation from before HAProxy: there, a proxy of the operator's has the certificate, and passes on to $http_port.
    grep -q VIGIL_EDGE_ "$etc/vigil.env" || cat >>"$etc/vigil.env" <<END
# Added by ops/install/install.sh: HAProxy listens where noc_gateway did, and believes your proxy on this machine about whose requests
# it passes on. To have HAProxy speak HTTPS itself, in place of your proxy, see docs/edge.md.
VIGIL_EDGE_PROXIES=127.0.0.1 ::1
END
    {
        echo "# Written by ops/install/install.sh: where operators' commands find the secrets."
        echo "VIGIL_CA_DIRECTORY=$authority"
        echo "VIGIL_EVIDENCE_KEY_FILE=$etc/evidence-key.pem"
        echo "VIGIL_RESTART_DIR=$root/run/vigil/restarts"
        # begin providers: install (written by: python -m ops.install.provider_files)
        local of_providers=(twilio_auth_token plivo_auth_token)
        # end providers
        local name
        for name in channels_encryption_key jwt_secret database_url amqp_uri redis_url mqtt_broker_password \
            mqtt_admin_password mqtt_watchdog_password vigil_webhook_secret smtp_url "${of_providers[@]}" alert_url_recipients \
            vigil_owner_database_url vigil_superuser_database_url; do
            echo "${name^^}_FILE=$secrets/$name"
        done
    } >"$etc/operator.env"
    chmod 0644 "$etc/vigil.env" "$etc/operator.env"
}

# Servers elsewhere know no users of processes: whoever runs them imports rabbitmq_definitions and redis_users, puts the
# URLs into PROCESS.amqp_uri and PROCESS.redis_url; until then `check --deploy` says that all share one login.
write_secrets() {
    local shared=()
    [ $elsewhere = no ] || shared=(--one-login AMQP_URI --one-login REDIS_URL)
    "$admin" secrets write "$secrets" --postgres "$postgres" --amqp "$amqp" --redis "$redis" "${shared[@]}"
}

prepare_redis() {
    local memory_mb
    memory_mb=$(awk '/^MemTotal/ {print int($2 / 4096)}' /proc/meminfo) || return
    install -o redis -g redis -m 0640 "$secrets/redis_users" /etc/redis/vigil.acl &&
        { echo 'bind 127.0.0.1 ::1' && echo 'appendonly yes' && echo 'appendfsync everysec' && echo "maxmemory ${memory_mb}mb" &&
        echo 'maxmemory-policy volatile-lru' && echo 'aclfile /etc/redis/vigil.acl'; } >/etc/redis/vigil.conf &&
        chown redis:redis /etc/redis/vigil.conf && chmod 0640 /etc/redis/vigil.conf &&
        { grep -qx 'include /etc/redis/vigil.conf' /etc/redis/redis.conf || echo 'include /etc/redis/vigil.conf' >>/etc/redis/redis.conf; } &&
        systemctl enable --now redis-server && systemctl restart redis-server
}

prepare_rabbitmq() {
    { [ -f /etc/rabbitmq/rabbitmq.conf ] || echo 'listeners.tcp.1 = 127.0.0.1:5672' >/etc/rabbitmq/rabbitmq.conf; } &&
        systemctl enable --now rabbitmq-server && rabbitmqctl -q await_startup || return
    # By standard input: arguments can be read by every user of the machine.
    rabbitmqctl -q import_definitions <"$secrets/rabbitmq_definitions" || return
    ! rabbitmqctl -q list_users | cut -f1 | grep -qx guest || rabbitmqctl -q delete_user guest
}

# The superuser's password is set through the socket, where Debian lets the user postgres in without one.
prepare_postgres() {
    systemctl enable --now postgresql && local statement &&
        statement="ALTER ROLE postgres PASSWORD '$(cat "$secrets/postgres_password")'" &&
        echo "$statement" | runuser -u postgres -- psql -q -X -v ON_ERROR_STOP=1 -d postgres
}

prepare_database() { "$admin" database prepare --secrets "$secrets"; }

write_broker() {
    "$admin" broker write "$broker" --host "$mqtt_host" --host 127.0.0.1 --host localhost --authority "$authority" \
        --trust "$etc/mqtt-ca.pem" --port "$mqtt_port" --tls-port "$mqtts_port" --certificate-port "$certificate_port" \
        --listen "$([ $systemd = yes ] && echo 0.0.0.0 || echo 127.0.0.1)" --plugin "$(find /usr/lib /usr/local/lib -name mosquitto_dynamic_security.so | head -n 1)" &&
        { [ $systemd = no ] || chown -R mosquitto:mosquitto "$broker"; }
}

# HAProxy reads the key; nobody else does.
write_certificate() {
    local file
    file=$(sed -n 's/^VIGIL_EDGE_CERTIFICATE=//p' "$etc/vigil.env")
    [ "$file" = "$edge/certificate.pem" ] || return 0 # the operator's own, at a place of its own, or none
    "$admin" edge certificate "$file" --authority "$authority" &&
        { [ $systemd = no ] || { chown root:haproxy "$file" && chmod 0640 "$file"; }; }
}

write_units() {
    local file
    for file in "$source_tree"/ops/install/systemd/*.* "$source_tree"/ops/install/systemd/*/*; do
        [ -f "$file" ] || continue
        file=${file#"$source_tree"/ops/install/systemd/}
        install -d -m 0755 "$(dirname "$units/$file")" || return
        sed -E "s#(/opt/vigil|/etc/vigil|/var/lib/vigil|/var/backups/vigil|/run/vigil|/usr/local/sbin/vigil-admin)#$root\1#g" "$source_tree/ops/install/systemd/$file" >"$units/$file" || return
    done
}

start_units() {
    { systemctl disable --now mosquitto haproxy 2>/dev/null || true; } && # not installed is as good
        systemctl daemon-reload && systemctl enable vigil-broker.service vigil-edge.service vigil-backup.timer vigil.target \
            "vigil@"{directory,telemetry,location,alerts,notifications,mqtt_gateway-alert,mqtt_gateway-bulk,noc_gateway,noc_api,watchdog} &&
        systemctl restart vigil-broker.service vigil-migrate.service && systemctl restart 'vigil@*' &&
        systemctl restart vigil-edge.service && systemctl start vigil.target vigil-backup.timer
}

make_tenant() { "$admin" tenant list --json | grep -qE '"tenant_id": ?[1-9]' || "$admin" tenant add 1 "First tenant"; }

first_backup() { "$admin" backup --broker-dir "$broker"; }

# What has just started may be late for its first message.
test_messages() { "$admin" watchdog test || "$admin" watchdog test || "$admin" watchdog test; }

smoke_test() { "$admin" health; }

tell_what_lacks() { "$admin" check --deploy || echo "install: mend these in $etc/vigil.env and $secrets, then: systemctl restart 'vigil@*'"; }

if [ $systemd = yes ]; then
    step "packages: ${PACKAGES[*]}" install_packages
    step "user vigil" make_user
fi
step "directories under ${root:-/}" make_directories
step "source tree in $opt" copy_tree
step "Python environment in $opt/.venv" make_environment
step "command $admin" write_admin
step "settings in $etc" write_settings
step "secrets in $secrets" write_secrets
if [ $systemd = yes ] && [ $elsewhere = no ]; then
    step "Redis: on loopback, users of processes, kept over a crash" prepare_redis
    step "RabbitMQ: users of processes, virtual host vigil, no guest" prepare_rabbitmq
    step "PostgreSQL: the superuser's password" prepare_postgres
fi
step "database: owner, logins of processes, roles, PostGIS" prepare_database
step "broker's files in $broker" write_broker
step "certificate of the HTTP edge in $edge" write_certificate
step "units in $units" write_units
if [ $systemd = yes ]; then
    step "start: vigil-broker, vigil-migrate, vigil.target" start_units
    step "first tenant" make_tenant
    step "first backup, restored for proof" first_backup
    step "test messages from MQTT to a screen, by both lanes" test_messages
    step "smoke test: vigil-admin health" smoke_test
    step "what production lacks: vigil-admin check --deploy" tell_what_lacks
fi
