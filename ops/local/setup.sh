#!/usr/bin/env bash
# Sets up what a step needs: python, servers, browser, monitoring, peer. What is there already is passed over in no time.
set -euo pipefail
cd "$(dirname "$0")/../.."

die() { echo "setup: $*" >&2; exit 1; }

step() { # step TITLE COMMAND...: run it, say how long it took; when it fails, show what it said
    local title=$1 log started=$SECONDS
    shift
    echo "setup: $title ..."
    log=$(mktemp)
    if "$@" >"$log" 2>&1; then
        echo "setup: $title done in $((SECONDS - started)) s"
        rm -f "$log"
    else
        tail -n 40 "$log" >&2
        rm -f "$log"
        die "$title failed; the lines above say why. Mend it and run the same command again."
    fi
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; elif command -v sudo >/dev/null; then sudo -n "$@"; else return 1; fi
}

apt_updated=no
apt_install() { # Debian's packages, without starting the daemons that they bring: Vigil runs its own
    command -v apt-get >/dev/null || { echo "apt-get is not here; install these yourself: $*"; return 1; }
    as_root true || { echo "as root: apt-get install $*   (or use docker compose)"; return 1; }
    local policy=/usr/sbin/policy-rc.d made=no status=0
    if [ ! -e $policy ]; then
        printf '#!/bin/sh\nexit 101\n' | as_root tee $policy >/dev/null
        as_root chmod +x $policy
        made=yes
    fi
    [ $apt_updated = yes ] || as_root apt-get update -q || status=$?
    apt_updated=yes
    [ $status = 0 ] && as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" || status=$?
    [ $made = no ] || as_root rm -f $policy
    return $status
}

python_is_ready() { [ -f .venv/.stamp ] && [ "$(cat .venv/.stamp)" = "$(python_stamp)" ]; }
python_stamp() { cat requirements-dev.lock setup.cfg pyproject.toml sdk/python/pyproject.toml | sha256sum; pwd; }

setup_python() {
    python_is_ready && return
    command -v python3 >/dev/null || step "python3 from Debian's packages" apt_install python3 python3-venv
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || die "python3 is older than 3.11; Vigil needs 3.11"
    python3 -c 'import ensurepip, venv' 2>/dev/null || step "python3-venv from Debian's packages" apt_install python3-venv
    step "Python environment in .venv" install_python
}

# The lock holds everything, so pip resolves nothing (a fresh release of what an extra names would end the installation).
# Chained: bash forgets `set -e` in a function whose outcome is asked for, and a failure would pass for done.
install_python() {
    { .venv/bin/python -c 'import pip' || python3 -m venv --clear .venv; } &&
        .venv/bin/python -m pip install -q --require-hashes --no-deps -r requirements-dev.lock &&
        .venv/bin/python -m pip install -q --no-deps --no-build-isolation -e . -e sdk/python &&
        python_stamp >.venv/.stamp
}

setup_servers() {
    local PATH=$PATH:/usr/sbin
    command -v haproxy >/dev/null || step "haproxy from Debian's packages" apt_install haproxy # stands before servers that are given, too
    if [ -n "${DATABASE_URL:-}" ] && [ -n "${AMQP_URI:-}" ] && [ -n "${REDIS_URL:-}" ] && [ -n "${MQTT_BROKER_ADDRESS:-}" ]; then
        return
    fi
    local missing=()
    command -v mosquitto >/dev/null || missing+=(mosquitto)
    command -v mosquitto_pub >/dev/null || missing+=(mosquitto-clients)
    compgen -G "/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server" >/dev/null || missing+=(rabbitmq-server)
    command -v redis-server >/dev/null || missing+=(redis-server)
    compgen -G "/usr/lib/postgresql/*/lib/postgis-3.so" >/dev/null || missing+=(postgresql-15 postgresql-15-postgis-3)
    [ ${#missing[@]} = 0 ] || step "servers from Debian's packages: ${missing[*]}" apt_install "${missing[@]}"
}

setup_browser() {
    command -v chromium >/dev/null || step "chromium from Debian's packages" apt_install chromium
    command -v systemd-analyze >/dev/null || step "systemd-analyze from Debian's packages" apt_install systemd
    command -v node >/dev/null || step "node from Debian's packages" apt_install nodejs npm
    local dir=tests/e2e/browser
    [ -f $dir/package-lock.json ] || return 0
    cmp -s $dir/package-lock.json $dir/node_modules/.stamp || step "browser test packages" install_npm $dir
}

setup_console() { # without it the console has no map, and says so
    cmp -s console/package-lock.json console/vendor/.stamp && return
    command -v npm >/dev/null || step "node from Debian's packages" apt_install nodejs npm
    step "the console's libraries" sh console/vendor.sh
}

setup_monitoring() { # programs for tests and for those who watch Vigil; Debian's services of that name stay stopped
    local missing=()
    command -v prometheus >/dev/null && command -v promtool >/dev/null || missing+=(prometheus)
    command -v amtool >/dev/null || missing+=(prometheus-alertmanager)
    [ ${#missing[@]} = 0 ] || step "monitoring from Debian's packages: ${missing[*]}" apt_install "${missing[@]}"
}

peer_stamp() { cat bench/requirements-peer.txt | sha256sum; pwd; }

setup_peer() { # the plain pipeline that `make bench` holds Vigil against, apart from everything of Vigil's
    [ -f .venv-peer/.stamp ] && [ "$(cat .venv-peer/.stamp)" = "$(peer_stamp)" ] && return
    step "the plain peer of the bench in .venv-peer" install_peer
}

install_peer() {
    { .venv-peer/bin/python -c 'import pip' || python3 -m venv --clear .venv-peer; } &&
        .venv-peer/bin/python -m pip install -q -r bench/requirements-peer.txt &&
        peer_stamp >.venv-peer/.stamp
}

install_npm() {
    (cd "$1" && npm ci --no-audit --no-fund --ignore-scripts) &&
        cp "$1/package-lock.json" "$1/node_modules/.stamp"
}

case "${1:-}" in
    python) setup_python ;;
    servers) setup_servers ;;
    console) setup_console ;;
    browser) setup_browser ;;
    monitoring) setup_monitoring ;;
    peer) setup_peer ;;
    *) die "usage: ops/local/setup.sh python|servers|console|browser|monitoring|peer" ;;
esac
