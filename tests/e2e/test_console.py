"""The console in a real Chromium, against the real stack."""

import os
import secrets
import shutil
import subprocess
from pathlib import Path

from tests.conftest import run_vigil
from tests.e2e.conftest import Outside, Screen

BROWSER = Path(__file__).parent / "browser"


def _new_key_seals(outside: Outside, screen: Screen, kid: str) -> bool:
    """Raises an alert and looks at the key of its frame."""
    outside.publish(f"alert/sos/guard-{secrets.token_hex(4)}", {"severity": "critical"})
    screen.wait("critical_alert")
    return kid in screen.kids


def test_log_in_see_a_panic_acknowledge_it_and_go_on_after_the_gateway_restarts(
    outside: Outside, tmp_path: Path
) -> None:
    user, password = outside.person()
    source = f"guard-{outside.run}"
    environment = {
        **os.environ,
        "VIGIL_CONSOLE_URL": f"http://{outside.base}/",
        "VIGIL_LOGIN": user,
        "VIGIL_PASSWORD": password,
        "VIGIL_SOURCE": source,
        "CHROMIUM": shutil.which("chromium") or "chromium",
        "SCREENSHOT": str(tmp_path / "console.png"),
    }
    with subprocess.Popen(
        ["node", "console.mjs"],
        cwd=BROWSER,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as page:
        assert page.stdin is not None
        assert page.stdout is not None
        assert page.stderr is not None

        def expect(word: str) -> None:
            said = page.stdout.readline().strip()  # type: ignore[union-attr]
            assert said == word, page.stderr.read()  # type: ignore[union-attr]

        def order(word: str) -> None:
            page.stdin.write(f"{word}\n")  # type: ignore[union-attr]
            page.stdin.flush()  # type: ignore[union-attr]

        expect("live")
        outside.publish(
            f"alert/panic/{source}", {"severity": "critical", "message": "<script>alert(1)</script>"}
        )
        order("panic")
        expect("shown")
        expect("acknowledged")
        [(status, by)] = outside.rows(
            "SELECT status, acknowledged_by FROM mqtt_device_alert WHERE source_id = %s", source
        )
        assert (status, by) == ("ACKNOWLEDGED", user)

        supervisor = outside.stack.supervisor
        gateway = next(process for process in supervisor.processes if process.name == "noc_gateway")
        gateway.kill()
        outside.publish(f"alert/panic/{source}-2", {"severity": "critical", "message": "while away"})
        while gateway.state == "ready":
            supervisor.poll()
        assert supervisor.wait_ready(["noc_gateway"], timeout_s=30) == []
        order("restarted")
        expect("resumed")

        run_vigil(outside.env, "keys", "rotate")
        newest = next(iter(outside.ring.of_tenant(1)))
        screen = outside.screen()
        outside.until(lambda: _new_key_seals(outside, screen, newest))
        outside.publish(f"alert/panic/{source}-3", {"severity": "critical", "message": "under a new key"})
        order("rotated")
        expect("opened")

        run_vigil(outside.env, "user", "disable", user)
        order("disabled")
        expect("logged out")
    assert page.returncode == 0
    assert (tmp_path / "console.png").stat().st_size > 1000
