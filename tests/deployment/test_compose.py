"""Tests of docker-compose.yml without an engine.

They check it against the published schema, and check the things that each line relies on.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from importlib import resources
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from ops.commands.servers.secrets import OF_SERVERS
from ops.environment import PROJECT
from ops.hosting import liveness
from ops.install.secret_files import ServerAddresses, files_of, write
from ops.local.supervisor import STALL_SIGNAL
from ops.processes import GROUPS, PROCESSES
from ops.run import SECRETS_DIRECTORY
from ops.servers.edge import certificate
from ops.servers.privileges import PRIVILEGES
from services.feed.keyring import read_key_files
from services.platform import config
from services.platform.config import SECRETS

TEXT = (PROJECT / "docker-compose.yml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {
    name for name, service in SERVICES.items() if service["image"].startswith(("vigil:", "vigil-operator:"))
}
ONCE = {name for name in OURS if SERVICES[name].get("restart") == "no"}
INTERPOLATED = re.compile(r"(?<!\$)\$\{([A-Z0-9_]+)(?::?[-?][^}]*)?\}")
EXACT_TAG = re.compile(r"[a-z0-9./-]+:v?\d+(\.\d+)+[a-z0-9.-]*")
POSTGIS = "postgis/postgis:18-3.6"
"""PostgreSQL's major version and PostGIS's minor version: the finest tag that the publisher offers."""
TOOLS = {
    "eclipse-mosquitto": {"test", "mosquitto_sub"},
    "rabbitmq": {"rabbitmq-diagnostics"},
    "redis": {"test", "cut", "redis-cli"},
    "postgis/postgis": {"pg_isready"},
    "prom/prometheus": {"promtool"},
    "prom/alertmanager": {"wget"},
    "grafana/grafana": {"wget"},
    "haproxy": {"wget"},
    "vigil": {"python"},
}
"""Programs that a health check may call, by image, as the image's documentation lists them.

`test` is the shell's own.
"""
SHELL_WORDS = re.compile(r"(?:^|\$\$\(|&&|\|\|?|;)\s*(?:[A-Z_]+=(?:\$\$\([^)]*\)|\S+)\s+)*([a-z][\w-]*)")


SETTINGS = config.load(environ={})


def schema() -> dict[str, Any]:
    """Return the schema that the Compose specification publishes. `check-jsonschema` carries it."""
    file = resources.files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def resolved(text: str) -> str:
    """Return the text with every default put in."""
    return re.sub(r"\$\{[A-Z0-9_]+:-([^}]*)\}", r"\1", text)


def list_of(service: str, key: str) -> list[Any]:
    return list(SERVICES[service].get(key) or [])


def mounts(service: str) -> list[tuple[str, str, bool]]:
    """Return (source, target, whether it may be written) of each mount of a service."""
    parts = [resolved(line).split(":") for line in list_of(service, "volumes")]
    return [(source, target, mode != ["ro"]) for source, target, *mode in parts]


def test_it_is_what_the_published_schema_says_a_compose_file_is() -> None:
    validator = Draft202012Validator(schema())
    assert [f"{list(e.path)}: {e.message[:200]}" for e in validator.iter_errors(COMPOSE)] == []
    broken = {**COMPOSE, "services": {"x": {"image": "y:1.0", "restrat": "always"}}}
    assert not validator.is_valid(broken)


def test_every_variable_is_in_both_examples() -> None:
    used = set(INTERPOLATED.findall(TEXT))
    assert len(used) > 20
    for file in (".env.example", ".env.production.example"):
        lines = (PROJECT / file).read_text().splitlines()
        names = {line.partition("=")[0] for line in lines if line and not line.startswith("#")}
        assert used - names == set(), file
    # In the other direction: the file sets no variable that nothing reads.
    production = {
        line.partition("=")[0]
        for line in (PROJECT / ".env.production.example").read_text().splitlines()
        if line and not line.startswith("#")
    }
    assert production == used


def test_defaults_are_those_of_the_example() -> None:
    example = dict(
        line.split("=", 1)
        for line in (PROJECT / ".env.production.example").read_text().splitlines()
        if line and not line.startswith("#")
    )
    for name, default in re.findall(r"\$\{([A-Z0-9_]+):-([^}]*)\}", TEXT):
        if "example.com" not in example[name]:
            assert example[name] == default, name


@pytest.mark.parametrize("name", SERVICES)
def test_every_image_is_pinned(name: str) -> None:
    image = SERVICES[name]["image"]
    assert image == POSTGIS or EXACT_TAG.fullmatch(image), image
    assert "latest" not in image


def test_our_image_has_the_version_of_the_package() -> None:
    [version] = re.findall(r"^version = (\S+)$", (PROJECT / "setup.cfg").read_text(), re.MULTILINE)
    assert {SERVICES[name]["image"] for name in OURS} == {f"vigil:{version}", f"vigil-operator:{version}"}
    assert f'image.version="{version}"' in (PROJECT / "Dockerfile").read_text()


def test_every_process_is_there_and_is_hosted_by_its_name() -> None:
    hosted = {
        service["command"][-1]: name
        for name, service in SERVICES.items()
        if service.get("command", [])[:3] == ["python", "-m", "ops.run"]
    }
    assert set(hosted) == {*PROCESSES, "watchdog"}
    for process, name in hosted.items():
        assert name == process.replace("_", "-")
        test = SERVICES[name]["healthcheck"]["test"]
        assert test[:5] == ["CMD", "python", "-m", "ops.hosting.liveness", process]


def test_the_health_check_of_a_process_comes_as_often_as_it_is_needed_and_has_time_to_end_it() -> None:
    """The check ends a process that gives no sign of life.

    Docker restarts a process that ended, not one that is unhealthy.
    """
    written = re.search(
        r"HEALTHCHECK --interval=(\d+)s --timeout=(\d+)s", (PROJECT / "Dockerfile").read_text()
    )
    assert written is not None
    interval_s, timeout_s = map(int, written.groups())
    assert interval_s <= SETTINGS.supervision.stall_timeout_s
    assert timeout_s >= liveness.LOOK_AGAIN_S + liveness.END_S + liveness.HTTP_TIMEOUT_S + 2
    assert liveness.END_SIGNAL == STALL_SIGNAL
    for process in PROCESSES:
        service = SERVICES[process.replace("_", "-")]
        assert service["restart"] == "unless-stopped"
        assert service["init"] is True
        assert not service["healthcheck"].keys() & {"interval", "timeout", "disable"}


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_has_a_health_check_of_documented_tools_or_ends(name: str) -> None:
    check = SERVICES[name].get("healthcheck", {})
    if name in ONCE or name == "simulator":
        assert check == {"disable": True}
        return
    kind, *words = check["test"]
    called = {words[0]} if kind == "CMD" else set(SHELL_WORDS.findall(words[0]))
    assert kind in ("CMD", "CMD-SHELL")
    image = SERVICES[name]["image"].rpartition(":")[0]
    assert called
    assert called <= TOOLS[image], called


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_hardened_bounded_and_its_log_turns_over(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["restart"] == ("no" if name in ONCE else "unless-stopped")
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}
    assert set(service["logging"]["options"]) == {"max-size", "max-file"}
    assert "privileged" not in service
    user = service["user"].partition(":")[0]
    if user == "0":
        assert name == "secrets"
        assert service["network_mode"] == "none"
    else:
        assert "cap_add" not in service


def test_only_who_must_reach_the_outside_is_in_the_network_that_does() -> None:
    assert COMPOSE["networks"]["backend"]["internal"] is True
    outside = {name for name in SERVICES if "edge" in (SERVICES[name].get("networks") or [])}
    assert outside == {
        *("mosquitto", "notifications", "noc-gateway", "noc-api", "edge", "alertmanager", "grafana")
    }
    published = {name for name in SERVICES if "ports" in SERVICES[name]}
    assert published == {"mosquitto", "edge", "grafana"}
    assert [resolved(port) for port in SERVICES["edge"]["ports"]] == [
        "0.0.0.0:443:8443",
        "0.0.0.0:80:8080",
        "127.0.0.1:8000:8000",
    ]
    # Plain MQTT stays within its container.
    assert {resolved(port).split(":")[-1] for port in SERVICES["mosquitto"]["ports"]} == {"8883", "8884"}


@pytest.mark.parametrize("name", SERVICES)
def test_no_secret_is_in_an_environment_and_every_secret_file_is_handed_over(name: str) -> None:
    environment: dict[str, str] = SERVICES[name].get("environment", {})
    handed = {s if isinstance(s, str) else s["source"] for s in list_of(name, "secrets")}
    assert handed <= set(COMPOSE["secrets"])
    for variable, value in environment.items():
        assert variable not in SECRETS | {"CHANNELS_ENCRYPTION_KEY"}
        assert not re.search(r"password|secret|token", variable.lower()) or value.startswith(
            "/run/secrets/"
        ), variable
        if str(value).startswith("/run/secrets/"):
            file = value.rpartition("/")[2]
            assert file in handed, f"{variable} names a secret that {name} is not given"
            stem = variable.removesuffix("__FILE").removesuffix("_FILE").removeprefix("GF_SECURITY_")
            assert file.endswith(stem.lower()) or file == f"grafana_{stem.lower()}"
    if name in OURS:
        used = {value.rpartition("/")[2] for value in environment.values() if "/run/secrets/" in str(value)}
        if "--secrets" in SERVICES[name]["command"]:  # it reads the logins that it has to create
            used |= {files_of(p)["DATABASE_URL"] for p in PROCESSES if "DATABASE_URL" in files_of(p)}
        assert handed == used, "handed over without need"


def test_only_operators_services_are_given_the_owners_and_the_administrators_passwords() -> None:
    for secret in ("vigil_owner_database_url", "mqtt_admin_password"):
        given = {name for name in SERVICES if secret in list_of(name, "secrets")}
        assert given == {
            "broker-files",
            "prepare-database",
            "migrate",
            "watchdog-sources",
            "topology",
            "vigil",
            "fleet-sources",
        }
    superuser = {name for name in SERVICES if "vigil_superuser_database_url" in list_of(name, "secrets")}
    assert superuser == {"prepare-database"}


def test_secret_files_are_the_ones_that_the_command_makes(tmp_path: Any) -> None:
    addresses = ServerAddresses("postgres:5432", "rabbitmq:5672", "redis:6379")
    made = write(tmp_path, addresses, settings=SETTINGS)
    assert set(made) == set(COMPOSE["secrets"])
    assert write(tmp_path, addresses, settings=SETTINGS) == []
    assert set(OF_SERVERS) <= set(made)
    for name in made:
        assert (tmp_path / name).stat().st_mode & 0o077 == 0
    named = SERVICES["secrets"]["command"]
    assert [named[named.index(f"--{server}") + 1] for server in ("postgres", "amqp", "redis")] == list(
        addresses
    )
    for host in (address.partition(":")[0] for address in addresses):
        assert host in SERVICES


def test_each_secret_file_is_given_to_who_reads_it_and_closed_to_others(tmp_path: Any) -> None:
    me = (os.getuid(), os.getgid())
    other = (4711, 4712) if os.geteuid() == 0 else me
    write(
        tmp_path,
        ServerAddresses("a:1", "b:2", "c:3"),
        settings=SETTINGS,
        owners={"": me, "redis_auth": other},
    )
    for name, owner in (("jwt_secret", me), ("redis_auth", other)):
        status = (tmp_path / name).stat()
        assert (status.st_uid, status.st_gid) == owner
        assert status.st_mode & 0o777 == 0o440
    assert tmp_path.stat().st_mode & 0o077 == 0


def test_the_secret_files_are_ones_that_production_starts_with(tmp_path: Any) -> None:
    """The environment is that of a Vigil process. Its secrets are in the files of this test."""
    from ops.hosting.production import problems

    write(tmp_path, ServerAddresses("postgres:5432", "rabbitmq:5672", "redis:6379"), settings=SETTINGS)
    processes = {process.replace("_", "-"): process for process in PROCESSES}
    for name in (*processes, "migrate"):
        environment = {
            variable: resolved(str(value)).replace("/run/secrets", str(tmp_path))
            for variable, value in SERVICES[name]["environment"].items()
        }
        settings = config.load(environ=environment)
        process = processes.get(name)
        wanted = PRIVILEGES[process].secrets if process else None
        assert problems(settings, files=read_key_files(settings), secrets=wanted) == []
        if not process or "DATABASE_URL" in PRIVILEGES[process].secrets:
            login = f"vigil_{process}" if process else "vigil_service"
            assert settings.database.url.startswith(f"postgresql://{login}:")


@pytest.mark.parametrize("process", PROCESSES)
def test_a_process_is_given_the_secrets_that_it_needs_and_no_other(process: str) -> None:
    name = process.replace("_", "-")
    files = files_of(process)
    assert sorted(list_of(name, "secrets")) == sorted(files.values())
    named = {v: f for v, f in SERVICES[name]["environment"].items() if str(f).startswith("/run/secrets/")}
    assert named == {f"{variable}_FILE": f"/run/secrets/{file}" for variable, file in files.items()}


def test_everything_mounted_is_there_or_a_volume_and_every_volume_is_used() -> None:
    used = set()
    for name in SERVICES:
        for source, _, _ in mounts(name):
            if source.startswith("./"):
                # A command makes these, or the tree has them as a whole or not at all.
                part = PROJECT / source.split("/")[1]
                assert (
                    source in ("./secrets", "./files") or (PROJECT / source).exists() or not part.exists()
                ), source
            else:
                assert source in COMPOSE["volumes"], f"{name} mounts {source}"
                used.add(source)
    assert used == set(COMPOSE["volumes"])


def test_what_a_configuration_names_is_mounted_where_it_says() -> None:
    for name, service in SERVICES.items():
        targets = {target for _, target, _ in mounts(name)}
        targets |= {line.partition(":")[0] for line in list_of(name, "tmpfs")}
        for variable, value in service.get("environment", {}).items():
            if str(value).startswith("/") and not value.startswith("/run/secrets/"):
                assert any(value == t or value.startswith(f"{t}/") for t in targets), f"{name}: {variable}"
    assert ("postgres", "/var/lib/postgresql", True) in mounts("postgres")


def test_the_authoritys_key_and_the_brokers_rights_stay_where_they_are_needed() -> None:
    who = {v: {n for n in SERVICES if v in [m[0] for m in mounts(n)]} for v in COMPOSE["volumes"]}
    assert who["authority"] == {"broker-files", "edge-files", "vigil"}
    assert who["edge-files"] == {"edge-files", "edge", "vigil"}  # the last to check it
    writers = {n for n in SERVICES for source, _, writes in mounts(n) if source == "edge-files" and writes}
    assert writers == {"edge-files"}
    assert who["broker"] == {"broker-files", "mosquitto", "vigil"}  # the last to back it up
    writers = {n for n in SERVICES for source, _, writes in mounts(n) if source == "trust" and writes}
    assert writers == {"broker-files"}


def test_who_waits_waits_for_what_can_come() -> None:
    for name, service in SERVICES.items():
        needed = service.get("depends_on", {})
        for other, how in needed.items():
            assert other in SERVICES
            expected = "service_completed_successfully" if other in ONCE else "service_healthy"
            assert how == {"condition": expected}, f"{name} waits for {other}"
            # A service with a profile may wait for one without, but not the other way round.
            profiles = SERVICES[other].get("profiles", [])
            assert not profiles or set(profiles) & set(service.get("profiles", []))
    for process in {*PROCESSES, "watchdog"}:
        waits = SERVICES[process.replace("_", "-")]["depends_on"]
        assert {"migrate", "topology", "postgres", "rabbitmq", "redis", "mosquitto"} <= set(waits)


def test_nobody_waits_in_a_circle() -> None:
    order: list[str] = []
    while len(order) < len(SERVICES):
        free = [
            n for n in SERVICES if n not in order and set(SERVICES[n].get("depends_on", {})) <= set(order)
        ]
        assert free, f"a circle among {set(SERVICES) - set(order)}"
        order += free


def test_profiles_are_the_ones_of_the_deployment_page() -> None:
    profiles = {profile for service in SERVICES.values() for profile in service.get("profiles", [])}
    assert profiles == {"operator", "setup", "simulator", "monitoring"}
    page = (PROJECT / "docs" / "deploy.md").read_text()
    assert "--profile monitoring" in page
    assert "--profile simulator" in page


def test_prometheus_alone_may_read_the_metrics() -> None:
    [address] = [v["ipv4_address"] for v in SERVICES["prometheus"]["networks"].values()]
    allowed = SERVICES["noc-api"]["environment"]["PROMETHEUS_ALLOWED_IPS"]
    assert allowed == f"{address}/32,127.0.0.1/32"


def test_haproxy_is_the_shipped_file_and_finds_and_reaches_both_processes_by_the_backend_network() -> None:
    assert ("./ops/servers/edge/haproxy.cfg", "/etc/vigil/haproxy.cfg", False) in mounts("edge")
    assert SERVICES["edge"]["command"][-1] == "/etc/vigil/haproxy.cfg"
    environment = SERVICES["edge"]["environment"]
    for variable, service, port in (
        ("VIGIL_FEED_SERVER", "noc-gateway", "8001"),
        ("VIGIL_API_SERVER", "noc-api", "8002"),
    ):
        # The name exists in that network alone. From the other network, HAProxy would come with an
        # address that no process trusts.
        networks = SERVICES[service]["networks"]
        assert environment[variable] == f"{networks['backend']['aliases'][0]}:{port}"
        assert networks["edge"] == {}
        assert SERVICES[service]["healthcheck"]["test"][-1] == f"http://127.0.0.1:{port}/healthz"
    inside = {resolved(port).split(":")[-1] for port in SERVICES["edge"]["ports"]}
    assert inside == {environment["VIGIL_HTTP_PORT"], "8443", "8080"}
    assert (environment["VIGIL_EDGE_TLS_BIND"], environment["VIGIL_EDGE_REDIRECT_BIND"]) == (":8443", ":8080")
    assert environment["VIGIL_EDGE_METRICS_BIND"].endswith(":8405")


def test_haproxy_alone_is_believed_about_whose_requests_it_passes_on() -> None:
    address = SERVICES["edge"]["networks"]["backend"]["ipv4_address"]
    for name in ("noc-gateway", "noc-api"):
        assert SERVICES[name]["environment"]["VIGIL_TRUSTED_PROXIES"] == f"{address}/32"
    fixed = [resolved(address), *(v["ipv4_address"] for v in SERVICES["prometheus"]["networks"].values())]
    [pool] = COMPOSE["networks"]["backend"]["ipam"]["config"]
    assert all(ip_address(resolved(a)) in ip_network(resolved(pool["subnet"])) for a in fixed)


@pytest.mark.parametrize("changes", [{}, {"VIGIL_EDGE_PROXIES": "10.0.0.0/8 192.0.2.1"}])
def test_haproxy_reads_the_shipped_file_with_the_environment_of_compose(
    tmp_path: Path, changes: dict[str, str]
) -> None:
    file = tmp_path / "certificate.pem"
    certificate.keep(file, authority=tmp_path / "authority", host="noc.example.com")
    environment = {n: resolved(v) for n, v in SERVICES["edge"]["environment"].items()} | changes
    # HAProxy binds this address when it starts. The file is checked without binding, so the address
    # need not be this machine's.
    environment |= {"VIGIL_EDGE_CERTIFICATE": str(file), "VIGIL_PUBLIC_URL": "https://noc.example.com"}
    done = subprocess.run(
        ["haproxy", "-c", "-f", str(PROJECT / "ops/servers/edge/haproxy.cfg")],
        env={"PATH": "/usr/sbin:/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_prometheus_scrapes_and_warns_services_that_are_there() -> None:
    text = (PROJECT / "ops" / "install" / "compose" / "prometheus.yml").read_text()
    targets = re.findall(r"targets: \[([^\]:]+):(\d+)\]", text)
    assert targets == [("alertmanager", "9093"), ("noc-api", "8002"), ("edge", "8405")]
    assert {host for host, _ in targets} <= set(SERVICES)
    mounted = {target for _, target, _ in mounts("prometheus")}
    assert {"/etc/prometheus/rules", "/etc/prometheus/prometheus.yml"} <= mounted


def test_commands_of_ours_exist() -> None:
    from click.testing import CliRunner

    from ops.cli import group

    for name in OURS:
        command = SERVICES[name]["command"]
        if command[0] == "vigil":
            words = [word for word in command[1:4] if re.fullmatch(r"[a-z]+", word)]
            done = CliRunner().invoke(group, [*words, "--help"])
            assert done.exit_code == 0, f"{name}: vigil {' '.join(words)}"
        elif command[0] == "sh":
            assert (PROJECT / command[1]).exists()


def test_the_small_layout_gives_the_parts_that_share_a_container_the_secrets_of_each() -> None:
    small = yaml.safe_load((PROJECT / "docker-compose.small.yml").read_text())["services"]
    [group] = GROUPS
    service = small[group]
    base = SERVICES[service["extends"]["service"]]
    wanted = {name for part in GROUPS[group] for name in files_of(part).values()}
    assert sorted([*base["secrets"], *service["secrets"]]) == sorted(wanted)
    assert service["environment"] == {SECRETS_DIRECTORY: "/run/secrets"}
    assert service["command"] == ["python", "-m", "ops.run", group]
    assert service["healthcheck"]["test"] == ["CMD", "python", "-m", "ops.hosting.liveness", group]
    apart = {name for name, changed in small.items() if changed.get("profiles") == ["apart"]}
    assert apart == set(GROUPS[group])
    waited_for = {name for other in SERVICES.values() for name in other.get("depends_on", ())}
    assert not apart & waited_for
