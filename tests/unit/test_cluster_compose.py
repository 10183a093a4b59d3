"""Tests of docker-compose.cluster.yml: it is sound YAML, and its services and files exist."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

PROJECT = Path(__file__).resolve().parents[2]
BASE, CLUSTER = PROJECT / "docker-compose.yml", PROJECT / "docker-compose.cluster.yml"
FIRST_OF = re.compile(r"-\d+$")
SERVERS = {"mosquitto", "rabbitmq", "redis", "postgres", "migrate"}
REPLICATED = {"directory", "telemetry", "location", "alerts", "notifications"}
PROCESSES = {
    *REPLICATED,
    *("mqtt-gateway-alert", "mqtt-gateway-bulk", "noc-gateway", "noc-api", "watchdog"),
}


class Loader(yaml.SafeLoader):
    """A loader with Compose's own tags.

    A tagged value replaces the one that it would be merged with.
    """


def _plain(loader: yaml.SafeLoader, node: yaml.Node) -> Any:
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_mapping(node, deep=True)


for tag in ("!override", "!reset"):
    Loader.add_constructor(tag, _plain)


def read(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = yaml.load(path.read_text(), Loader=Loader)  # noqa: S506 - a SafeLoader
    return document


def base() -> dict[str, Any]:
    """Return the file below. Where it does not exist yet, return its names."""
    if BASE.exists():
        return read(BASE)
    return {"services": {name: {} for name in SERVERS | PROCESSES}, "volumes": {}, "secrets": {}}


def test_every_service_is_one_of_the_file_below_or_extends_one() -> None:
    below, services = base()["services"], read(CLUSTER)["services"]
    for name, service in services.items():
        if name not in below:
            assert service["extends"] == {
                "file": "docker-compose.yml",
                "service": service["extends"]["service"],
            }
            assert service["extends"]["service"] in below, name
        for needed in service.get("depends_on", {}):
            assert needed in {*below, *services}, f"{name} depends on {needed}"


def test_there_are_two_of_each_process_and_what_keeps_something_by_its_name_has_one() -> None:
    services = read(CLUSTER)["services"]
    for process in REPLICATED:
        assert services[process]["deploy"]["replicas"] == 2
    for process in PROCESSES - REPLICATED - {"watchdog"}:
        second = services[f"{process}-2"]
        assert second["extends"]["service"] == process
        assert second["environment"]["VIGIL_INSTANCE"] == "2"
    for gateway in (name for name in services if name.startswith("mqtt-gateway")):
        assert services[gateway]["environment"]["VIGIL_MQTT_SHARED_GROUP"] == "vigil"
        assert services[gateway]["environment"]["VIGIL_INSTANCE"] == ("2" if gateway.endswith("-2") else "1")


def test_haproxy_knows_the_second_of_each_process_behind_it() -> None:
    services = read(CLUSTER)["services"]
    for variable, name, port in (
        ("VIGIL_FEED_SERVER_2", "noc-gateway-2", 8001),
        ("VIGIL_API_SERVER_2", "noc-api-2", 8002),
    ):
        [alias] = services[name]["networks"]["backend"]["aliases"]
        assert services["edge"]["environment"][variable] == f"{alias}:{port}"


def test_volumes_and_secrets_are_declared_and_mounted_files_are_there() -> None:
    below, cluster = base(), read(CLUSTER)
    for kind in ("volumes", "secrets"):
        for name, service in cluster["services"].items():
            for entry in service.get(kind, []):
                source = entry["source"] if isinstance(entry, dict) else str(entry).split(":")[0]
                if source == "./ops/install/compose/redis.conf" and not BASE.exists():
                    continue
                if source.startswith("./"):
                    assert (PROJECT / source).is_file(), f"{name} mounts {source}"
                else:
                    assert source in {*below[kind], *cluster[kind]}, f"{name}: {kind} {source}"


def test_no_two_containers_keep_their_data_in_one_volume() -> None:
    services = read(CLUSTER)["services"]
    kept = [
        str(entry).split(":")[0]
        for name, service in services.items()
        if FIRST_OF.sub("", name) in ("rabbitmq", "redis", "sentinel") or name == "postgres-replica"
        for entry in service["volumes"]
        if not str(entry).startswith("./")
    ]
    assert len(kept) == len(set(kept)) == 8


@pytest.mark.parametrize(
    "script", sorted((PROJECT / "ops/install/compose/cluster").glob("*.sh")), ids=lambda p: p.name
)
def test_a_script_of_the_cluster_can_be_read_by_sh(script: Path) -> None:
    subprocess.run(["sh", "-n", str(script)], check=True, timeout=10)
