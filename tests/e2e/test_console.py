"""The console in a real Chromium, against the real stack."""

import os
import shutil
import subprocess
from pathlib import Path

from tests.e2e.conftest import Outside

BROWSER = Path(__file__).parent / "browser"


def test_log_in_see_a_panic_acknowledge_it_and_go_on_after_the_gateway_restarts(
    outside: Outside, tmp_path: Path
) -> None:
    user, password = (line.split()[1] for line in (outside.stack.home / "login.txt").read_text().splitlines())
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
        assert (status, by) == ("ACKNOWLEDGED", "Demo operator")

        supervisor = outside.stack.supervisor
        gateway = next(process for process in supervisor.processes if process.name == "noc_gateway")
        gateway.kill()
        outside.publish(f"alert/panic/{source}-2", {"severity": "critical", "message": "while away"})
        while gateway.state == "ready":
            supervisor.poll()
        assert supervisor.wait_ready(["noc_gateway"], timeout_s=30) == []
        order("restarted")
        expect("resumed")
    assert page.returncode == 0
    assert (tmp_path / "console.png").stat().st_size > 1000
