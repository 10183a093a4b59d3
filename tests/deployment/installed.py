"""A run of `ops/install/install.sh` in a clean directory by an ordinary user.

Its units are started in systemd's place. These parts would need a machine of their own, and are not
replayed: Debian's packages; the user `vigil`; Debian's own PostgreSQL, RabbitMQ and Redis (the
tests' servers stand in); and the work of systemd itself (order, sandbox, restarts).
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import socket
import ssl
import subprocess
import sysconfig
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ops.environment import PROJECT
from ops.local import ports, servers
from ops.local.servers import rabbitmq_sbin
from ops.local.stack import Stack
from ops.local.supervisor import Process, Supervisor
from ops.processes import PROCESSES
from ops.servers.privileges import PRIVILEGES
from tests.deployment.dockerfile import interpreter
from tests.deployment.units import Unit
from tests.support.haproxy import HOST, parsed, request, rest
from tests.support.mqtt_device import MqttClient

USER = 10_001 if os.geteuid() == 0 else os.geteuid()
PORTS = ("http", "https", "redirect", "feed", "api", "mqtt", "mqtts", "mqtts_certificate")
TIMEOUT_S = 300
READY_S = 90.0
TREE = ("services", "gateway", "ops", "migrations", "console", "docs", "sdk")
FILES = ("config.yaml", "setup.cfg", "pyproject.toml", "requirements.lock", "README.md")


class Installation:
    """One installation under `directory`/root, on servers that exist already."""

    def __init__(self, directory: Path, stack: Stack, *, borrow: bool) -> None:
        self.name = f"i{secrets.token_hex(6)}"
        self.root = directory / "root"
        self.etc = self.root / "etc/vigil"
        self.ports = ports.choose({}, PORTS, prefer=False)
        self.supervisor = Supervisor(directory / "state.json")
        self._directory = directory
        self._stack = stack
        self._borrow = borrow

    def prepare(self) -> None:
        """Put the tree and the addresses of the servers in place, as the operator does."""
        source = self._directory / "source"
        for name in TREE:
            shutil.copytree(PROJECT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in FILES:
            shutil.copy(PROJECT / name, source / name)
        vhost(self._stack, "add_vhost", self.name)
        vhost(self._stack, "set_permissions", "-p", self.name, "vigil", ".*", ".*", ".*")
        kept = self.etc / "secrets"
        kept.mkdir(parents=True)
        for name, value in self._addresses().items():
            (kept / name).write_text(value + "\n")
        self._give(self.root)

    def install(self, *more: str) -> str:
        """Run the script as the ordinary user, and return its output."""
        numbers = [
            part for name in PORTS for part in (f"--{name.replace('_', '-')}-port", str(self.ports[name]))
        ]
        borrowed = ["--site-packages", sysconfig.get_path("purelib")] if self._borrow else []
        command = [
            "bash",
            str(self._directory / "source/ops/install/install.sh"),
            "--no-systemd",
            "--servers-elsewhere",
        ]
        command += ["--root", str(self.root), "--mqtt-host", "mqtt.example.com"]
        command += ["--public-url", "https://noc.example.com", *numbers, *borrowed, *more]
        environment = {"PATH": os.environ["PATH"], "PYTHON": interpreter(), "HOME": str(self.root)}
        # This machine's way to reach the index of pip.
        environment |= {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
        return self._run(command, environment)

    def admin(self, *arguments: str) -> str:
        """Run an operator's command by `vigil-admin`, which the script made, and return its output."""
        command = [str(self.root / "usr/local/sbin/vigil-admin"), *arguments]
        return self._run(command, {"PATH": "/usr/bin:/bin"})

    def lacks(self) -> list[str]:
        """Return the findings of `vigil-admin check --deploy`."""
        command = [str(self.root / "usr/local/sbin/vigil-admin"), "check", "--deploy", "--json"]
        found: list[str] = json.loads(self._run(command, {"PATH": "/usr/bin:/bin"}, code=1).splitlines()[0])
        return found

    def from_outside(
        self, method: str, path: str, *headers: str, source: str = "127.0.0.1"
    ) -> tuple[int, dict[str, str], bytes]:
        """Return (status, headers, body) of a request to the HTTPS port.

        The certificate is checked.
        """
        context = ssl.create_default_context(cafile=str(self.etc / "mqtt-ca.pem"))
        plain = socket.create_connection(
            ("127.0.0.1", self.ports["https"]), timeout=20, source_address=(source, 0)
        )
        with context.wrap_socket(plain, server_hostname=HOST) as sock:
            sock.sendall(request(method, path, *headers))
            return parsed(rest(sock))

    def back_up(self) -> None:
        """Back up, as `ops/install/install.sh` does before its smoke test, and as the nightly unit does."""
        [command] = self._service("vigil-backup.service", "").commands
        self._run(command, {"PATH": "/usr/bin:/bin"})

    def start(self) -> None:
        """Start the units of vigil.target in their order: broker, migrations, processes."""
        self._start("vigil-broker", "vigil-broker.service", port="mqtt")
        service = self._service("vigil-migrate.service", "")
        assert service.kind == "oneshot"
        for command in service.commands:
            self._run(command, service.environment, directory=service.directory)
        for name in PROCESSES:
            self._start(name, "vigil@.service", instance=name)
        self._start("vigil-edge", "vigil-edge.service", port="http")

    def stop(self) -> None:
        self.supervisor.stop(only=list(PROCESSES))
        self.supervisor.stop()
        superuser = (self.etc / "secrets/vigil_superuser_database_url").read_text().strip()
        psql = [str(servers.postgres_bin() / "psql"), "-X", "-q", superuser]
        drop = [f"DROP DATABASE IF EXISTS {self.name} WITH (FORCE)"]
        logins = ["owner", "service", *(f"owner_{name}" for name, may in PRIVILEGES.items() if may.tables)]
        drop += [f"DROP ROLE IF EXISTS {self.name}_{login}" for login in logins]
        for statement in drop:
            subprocess.run([*psql, "-c", statement], check=True, timeout=60)
        vhost(self._stack, "delete_vhost", self.name)

    def panic(self) -> str:
        """Register a guard, and press the guard's button over TLS with the guard's own credential.

        Returns the guard's id.
        """
        said = json.loads(self.admin("guard", "add", "4711", "--json"))
        password = said["password"]
        client = MqttClient(
            self.ports["mqtts"],
            "guard-4711",
            username="guard-4711",
            password=password,
            ca_file=self.etc / "mqtt-ca.pem",
        )
        client.publish("alert/panic/guard-4711", json.dumps({"message": "help"}).encode())
        client.settle(1)
        client.close()
        return "guard-4711"

    def get(self, path: str) -> Any:
        token = self.admin("token").splitlines()[-1]
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.ports['http']}{path}", headers={"Authorization": f"Bearer {token}"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def alerts_of(self, source: str, *, within_s: float) -> list[dict[str, Any]]:
        """Return the alerts API's answer as soon as it has an alert of this source."""
        deadline_s = time.monotonic() + within_s
        while True:
            found = [a for a in _rows(self.get("/api/v1/alerts")) if source in json.dumps(a)]
            if found or time.monotonic() > deadline_s:
                return found
            time.sleep(0.2)

    def _addresses(self) -> dict[str, str]:
        here = self._stack.addresses()
        given = self._stack.operator_environment()
        database = f"{here['postgres']}/{self.name}"
        return {
            "vigil_superuser_database_url": self._stack.superuser_url().replace("+psycopg2", ""),
            "vigil_owner_database_url": f"postgresql://{self.name}_owner:{secrets.token_hex(16)}@{database}",
            "database_url": f"postgresql://{self.name}_service:{secrets.token_hex(16)}@{database}",
            "amqp_uri": re.sub(r"/[^/]*$", f"/{self.name}", given["AMQP_URI"]),
            "redis_url": given["REDIS_URL"].removesuffix("/0") + "/1",
        }

    def _service(self, unit: str, instance: str) -> Any:
        credentials = self._directory / "credentials" / f"{unit}-{instance}"
        found = Unit(self.root / "etc/systemd/system" / unit)
        for kind, place in (("RuntimeDirectory", "run"), ("StateDirectory", "var/lib")):
            for name in " ".join(found.all(kind)).split():
                (self.root / place / name).mkdir(parents=True, exist_ok=True)
                self._give(self.root / place / name)
        service = found.service(instance=instance, credentials=credentials, owner=USER)
        self._give(credentials)
        return service

    def _start(self, name: str, unit: str, *, instance: str = "", port: str = "") -> None:
        """Start the process of a unit.

        `port` names the port that answers once the process has started. It is for programs that are
        not part of Vigil.
        """
        service = self._service(unit, instance)
        assert service.kind == "notify"
        [command] = service.commands
        process = Process(
            name,
            ["env", "-C", service.directory, *command],
            log=self._directory / "log" / f"{name}.log",
            environment=service.environment,
            user=USER if os.geteuid() == 0 else None,  # type: ignore[arg-type]
            probe=(lambda: servers.answers(self.ports[port])) if port else None,
        )
        self.supervisor.add(process)
        late = self.supervisor.wait_ready([name], timeout_s=READY_S)
        assert not late, late[0].last_lines(40)

    def _give(self, path: Path) -> None:
        subprocess.run(["chown", "-R", f"{USER}:{USER}", str(path)], check=os.geteuid() == 0, timeout=60)

    def _run(
        self,
        command: list[str],
        environment: Mapping[str, str],
        *,
        directory: str | None = None,
        code: int = 0,
    ) -> str:
        ids = {"user": USER, "group": USER, "extra_groups": []} if os.geteuid() == 0 else {}
        done = subprocess.run(  # type: ignore[call-overload]
            command,
            env=environment,
            cwd=directory or self._directory,
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT_S,
            **ids,
        )
        said: str = done.stdout + done.stderr
        assert done.returncode == code, f"{' '.join(command)}:\n{said[-4000:]}"
        return str(done.stdout)


def _rows(answer: Any) -> list[dict[str, Any]]:
    return answer if isinstance(answer, list) else next(v for v in answer.values() if isinstance(v, list))


def vhost(stack: Stack, *arguments: str) -> None:
    """Create a virtual host of the installation's own.

    The installation must get no messages of the session's Vigil.
    """
    numbers = json.loads((stack.home / "ports.json").read_text())
    environment = {
        **os.environ,
        "HOME": str(stack.home / "rabbitmq"),
        "RABBITMQ_NODENAME": f"vigil{numbers['amqp_dist']}@localhost",
        "ERL_EPMD_PORT": str(numbers["epmd"]),
        "RABBITMQ_CTL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
    }
    command = [str(rabbitmq_sbin() / "rabbitmqctl"), "-q", *arguments]
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=60)
