"""Tests of an escalation: its recipients, channels and times.

The nearest policy applies, and its steps grow. Somebody is always notified while anybody exists.
"""

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pytest

from services.alerts.escalation.on_call import OnCallRota
from services.alerts.escalation.policy import (
    ContactBook,
    Ladder,
    LadderStep,
    PolicyContact,
    default_policy,
    fallback_contacts,
    ladder_of,
    next_step,
    notified_note,
    parse,
    step_at,
    targets,
)
from services.contracts.errors import Misconfigured, Refused
from services.contracts.events import AlertStatus, AlertType, Severity
from services.platform import config

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)  # a Monday
ONE = {"steps": [{"after_s": 0, "channels": ["sms"], "who": ["contacts"]}]}


def ladder(*waits_s: float, repeat_s: float = 0) -> Ladder:
    return Ladder([LadderStep(wait_s, ["sms"], ["contacts"]) for wait_s in waits_s], repeat_s=repeat_s)


def step(**changes: Any) -> dict[str, Any]:
    return {"PANIC": {"steps": [{"after_s": 0, "channels": ["sms"], "who": ["contacts"], **changes}]}}


def test_the_policy_of_the_project_itself_holds_the_contract() -> None:
    policy = default_policy(config.load(environ={}).alerts.policy)
    told = {severity: set(policy[severity].steps[0].channels) for severity in Severity}
    assert told[Severity.CRITICAL] >= {"sms", "email", "push"}
    assert told[Severity.HIGH] >= {"email", "push"}
    assert "sms" not in told[Severity.HIGH]
    assert told[Severity.MEDIUM] == {"email"}
    assert told[Severity.LOW] == {"digest"}
    second = policy[Severity.HIGH].steps[1]
    assert (second.after_s, second.channels) == (120, ["sms"])
    assert policy[Severity.CRITICAL].repeat_s > 0, "the last step repeats until a human takes it"


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"PANICK": ONE}, "neither a severity nor an alert type"),
        ({"PANIC": {"steps": []}}, "needs 1 to"),
        ({"PANIC": {"steps": "now"}}, "steps"),
        (step(channels=["pigeon"]), "pigeon"),
        (step(channels=[]), "at least one"),
        (step(who=[]), "at least one"),
        (step(who=["everybody"]), "'everybody'"),
        (step(who=["rota:"]), "'rota:'"),
        (step(after_s=-1), "after_s must grow"),
        (step(sound="loud"), "sound"),
        ({"PANIC": {**ONE, "repeat_s": 1}}, "repeat_s"),
        ({"PANIC": {**ONE, "expires_s": -1}}, "expires_s"),
        ({"PANIC": {**ONE, "until": "morning"}}, "until"),
        ({"PANIC": {"steps": ONE["steps"] * 2}}, "step 2: after_s must grow"),
        ("nobody", "policy"),
    ],
)
def test_a_policy_that_cannot_work_is_refused_with_the_place_and_the_remedy(document: Any, said: str) -> None:
    with pytest.raises(Refused, match=said):
        parse(document)


def test_the_default_must_have_an_answer_for_every_severity() -> None:
    with pytest.raises(Misconfigured, match="LOW"):
        default_policy({"CRITICAL": ONE, "HIGH": ONE, "MEDIUM": ONE})
    with pytest.raises(Misconfigured, match="config.yaml: alerts.policy: 'X'"):
        default_policy({"X": ONE})


def test_the_nearest_policy_that_says_something_counts_and_a_type_goes_before_its_severity() -> None:
    site, tenant, default = (
        {"FIRE": ladder(1)},
        {"CRITICAL": ladder(2)},
        {"CRITICAL": ladder(3), "LOW": ladder(4)},
    )

    def found(kind: AlertType, severity: Severity) -> float:
        return ladder_of([site, tenant, default], alert_type=kind, severity=severity).steps[0].after_s

    assert found(AlertType.FIRE, Severity.LOW) == 1
    assert found(AlertType.PANIC, Severity.CRITICAL) == 2
    assert found(AlertType.PANIC, Severity.LOW) == 4
    with pytest.raises(Misconfigured):
        found(AlertType.PANIC, Severity.HIGH)


DIGEST = Ladder([LadderStep(0, ["digest"], ["contacts"])])


@pytest.mark.parametrize(
    "kind", [AlertType.UNREADABLE_ALERT, AlertType.FIRE, AlertType.DURESS, AlertType.PANIC]
)
def test_what_is_never_held_back_has_the_next_graver_ladder_where_its_own_is_a_digest(
    kind: AlertType,
) -> None:
    default = {"LOW": DIGEST, "MEDIUM": DIGEST, "HIGH": ladder(7), "CRITICAL": ladder(8)}

    def found(policy: dict[str, Ladder], severity: Severity) -> Ladder:
        return ladder_of([policy, default], alert_type=kind, severity=severity)

    assert found({}, Severity.LOW).steps[0].after_s == 7
    assert found({kind.value: DIGEST}, Severity.CRITICAL).steps[0].after_s == 8
    assert found({kind.value: DIGEST, "HIGH": DIGEST}, Severity.HIGH).steps[0].after_s == 8
    mixed = Ladder(
        [LadderStep(0, ["digest"], ["contacts"]), LadderStep(60, ["digest", "sms"], ["fallback"])],
        repeat_s=30,
    )
    [step] = found({kind.value: mixed}, Severity.HIGH).steps
    assert (step.channels, step.who) == (["sms"], ["fallback"])
    nothing_else = {kind.value: DIGEST, "HIGH": DIGEST, "CRITICAL": DIGEST}
    [step] = found(nothing_else, Severity.HIGH).steps
    assert "digest" not in step.channels
    assert {"sms", "email"} <= set(step.channels)


@pytest.mark.parametrize("kind", [AlertType.OFFLINE, AlertType.UNKNOWN, AlertType.INTRUSION])
def test_other_alerts_wait_for_the_digest_that_their_policy_names(kind: AlertType) -> None:
    assert ladder_of([{kind.value: DIGEST}], alert_type=kind, severity=Severity.CRITICAL) == DIGEST


def test_steps_follow_in_their_own_time_and_the_last_repeats() -> None:
    assert next_step(ladder(0, 120, 300), 0) == (1, 120)
    assert next_step(ladder(0, 120, 300), 1) == (2, 180)
    assert next_step(ladder(0, 120), 1) is None
    repeating = ladder(0, 120, repeat_s=60)
    assert next_step(repeating, 1) == (2, 60)
    assert next_step(repeating, 7) == (8, 60)
    assert step_at(repeating, 8) is repeating.steps[1]


def test_what_ends_the_steps_is_for_the_policy_to_say() -> None:
    for until, going_on in (
        ("acknowledged", {"NEW"}),
        ("in_progress", {"NEW", "ACKNOWLEDGED"}),
        ("closed", {"NEW", "ACKNOWLEDGED", "IN_PROGRESS"}),
    ):
        asked = Ladder([], until=until)  # type: ignore[arg-type]
        assert {status for status in AlertStatus if not asked.ended_by(status)} == going_on


ASHA = PolicyContact("Asha", None, {"sms": "+911"}, "hi")
RAVI = PolicyContact("Ravi", 7, {"email": "r@x"})
NOC = PolicyContact("noc@x", None, {"email": "noc@x"})
WEEKLY = OnCallRota(["Asha", "Ravi"], "UTC", date(2026, 3, 2), time(8))
BOOK = ContactBook([ASHA, RAVI], {"night": WEEKLY}, [NOC])


def told(*who: str, site_id: int | None = None, book: ContactBook = BOOK, at: datetime = NOW) -> list[str]:
    return [
        target.name for target in targets(LadderStep(0, ["sms"], list(who)), book, site_id=site_id, at=at)
    ]


def test_contacts_are_the_sites_else_the_tenants_else_the_fallback() -> None:
    assert told("contacts", site_id=7) == ["Ravi"]
    assert told("contacts", site_id=8) == ["Asha"]
    assert told("contacts") == ["Asha"]
    assert told("contacts", book=ContactBook([], {}, [NOC])) == ["noc@x"]
    assert told("contacts", book=ContactBook([], {})) == []


def test_a_rota_gives_who_is_on_call_then_and_names_are_told_once() -> None:
    assert told("rota:night") == ["Asha"]
    assert told("rota:night", at=NOW + timedelta(days=7)) == ["Ravi"]
    assert told("contact:Asha", "rota:night", "fallback") == ["Asha", "noc@x"]


def test_when_a_name_is_gone_somebody_else_is_told() -> None:
    assert told("rota:gone") == ["Asha"]
    assert told("contact:gone", site_id=7) == ["Ravi"]
    assert told("contact:gone", book=ContactBook([RAVI], {}, [NOC])) == ["noc@x"]
    assert told("contact:gone", book=ContactBook([RAVI], {})) == ["Ravi"], (
        "the guard of another site is better than nobody"
    )


def test_a_target_has_its_addresses_and_language() -> None:
    [target] = targets(LadderStep(0, ["sms"], ["contacts"]), BOOK, site_id=None, at=NOW)
    assert (target.addresses, target.language) == ({"sms": "+911"}, "hi")
    assert fallback_contacts({"email": ["a@x", "b@x"]})[1] == PolicyContact("b@x", None, {"email": "b@x"})


def test_the_record_says_who_was_told_or_that_nobody_was_and_what_to_do() -> None:
    [target] = targets(LadderStep(0, ["sms"], ["contacts"]), BOOK, site_id=None, at=NOW)
    assert notified_note(1, [target], ["sms", "email"]) == "step 2: SMS, e-mail to Asha"
    assert "there is no contact to notify; add a contact" in notified_note(0, [], ["sms"])
