import os
import subprocess
import sys

from bench.measures import rest

ROLLUP = "55d0-7ffc ---p 00000000 00:00 0 [rollup]\nRss:  4096 kB\nPss:  2048 kB\nPss_Anon: 1024 kB\n"


def test_the_proportional_set_is_read_and_not_its_parts() -> None:
    assert rest.pss_kib(ROLLUP) == 2048


def test_a_family_is_a_process_with_all_below_it() -> None:
    script = (
        "import subprocess, sys; c = subprocess.Popen(['sleep', '60']);"
        "print(c.pid, flush=True); sys.stdin.read(); c.kill()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        grandchild = int(child.stdout.readline())
        assert {child.pid, grandchild} <= set(rest.family(os.getpid()))
        assert rest.pss_mib(child.pid) > 1, "an interpreter alone takes more"
        child.communicate("")


def test_what_has_ended_takes_no_memory() -> None:
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    assert rest.pss_mib(ended.pid) == 0


def test_figures_are_the_sums() -> None:
    found = rest.RestFigures({"a": 0.01, "b": 0.02}, {"a": 10.4, "b": 20.4})
    assert found.figures() == {"cores": 0.03, "mib": 31}
