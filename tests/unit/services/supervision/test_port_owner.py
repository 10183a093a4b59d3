import os
import socket
import subprocess
import sys

from services.supervision import port_owner


def test_the_owner_of_a_port_is_named_with_its_pid() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert port_owner.owner_of(port).endswith(f"(pid {os.getpid()})")
        said = port_owner.sentence(port, "end that program")
        assert said.startswith(f"port {port} is taken by ")
        assert said.endswith(f"(pid {os.getpid()}); end that program")
    assert port_owner.owner_of(port) == ""
    assert port_owner.sentence(port, "go on") == f"port {port} is taken by another program; go on"


def test_a_port_of_ipv6_and_of_another_process_is_found() -> None:
    code = (
        "import socket; s = socket.create_server(('::1', 0), family=10);"
        "print(s.getsockname()[1], flush=True); s.accept()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        port = int(other.stdout.readline())
        assert port_owner.owner_of(port).endswith(f"(pid {other.pid})")
        other.kill()


def test_a_connection_from_a_port_is_no_owner_of_it() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
    ):
        assert port_owner.owner_of(client.getsockname()[1]) == ""
