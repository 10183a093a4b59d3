"""Tests of the list of processes, and of the parts that share one."""

import pytest

from ops.processes import GROUPS, PROCESSES, host_of, layout, parts_of, stall_limit_s
from ops.servers.privileges import PRIVILEGES


@pytest.mark.parametrize("small", [False, True])
def test_each_layout_hosts_every_part_once(small: bool) -> None:
    hosted = [part for process in layout(small=small) for part in parts_of(process)]
    assert sorted(hosted) == sorted(PROCESSES)


def test_the_small_layout_has_fewer_processes_and_keeps_what_a_panic_waits_for_apart() -> None:
    small = layout(small=True)
    assert small == (
        "domains",
        "alerts",
        "mqtt_gateway-alert",
        "mqtt_gateway-bulk",
        "noc_gateway",
        "noc_api",
        "watchdog",
    )
    assert layout() == tuple(PROCESSES)


def test_no_group_has_the_name_of_a_part_and_each_part_of_one_has_its_own_rights() -> None:
    assert not GROUPS.keys() & PROCESSES.keys()
    assert {part for parts in GROUPS.values() for part in parts} <= PRIVILEGES.keys()


def test_it_is_known_where_a_part_runs() -> None:
    running = dict.fromkeys(layout(small=True))
    assert host_of("location", running) == "domains"
    assert host_of("alerts", running) == "alerts"
    assert host_of("telemetry", {"alerts": None}) is None


def test_a_group_may_stand_still_for_as_long_as_its_parts() -> None:
    assert stall_limit_s("domains", 10.0) == min(stall_limit_s(part, 10.0) for part in GROUPS["domains"])
