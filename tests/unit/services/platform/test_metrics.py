"""Tests that the metrics match the contract, and that the code measures each."""

import re

import pytest
from prometheus_client.metrics import MetricWrapperBase

from ops.environment import PROJECT
from services.platform import metrics
from tests.support import promql

CONTRACT = """
mqtt_message_processed_total{topic_prefix,qos} mqtt_message_rejected_total{topic_prefix,reason}
mqtt_processing_duration_seconds{topic_prefix} mqtt_connected{lane} mqtt_geofence_violation_total{}
task_success_total{task_name} task_failure_total{task_name,reason} task_retry_total{task_name}
task_duration_seconds{task_name} queue_depth{queue} worker_active{service} worker_capacity{service}
dead_letter_total{queue,reason} websocket_connections{role}
websocket_broadcast_success_total{group_prefix,message_type}
websocket_broadcast_failure_total{group_prefix,error_type} websocket_delivery_seconds{message_type}
websocket_closed_total{code} end_to_end_seconds{stage} alert_notification_sent_total{channel,severity}
alert_notification_failed_total{channel,error_type} external_service_circuit_open{service}
external_service_call_seconds{service} alerts_open{severity} hub_lag_seconds{service}
"""
DECLARED = {name: value for name, value in vars(metrics).items() if isinstance(value, MetricWrapperBase)}
SOURCES = [
    path
    for top in ("services", "gateway", "ops")
    for path in (PROJECT / top).rglob("*.py")
    if path != PROJECT / "services" / "platform" / "metrics.py"
]


@pytest.mark.parametrize("promised", CONTRACT.split())
def test_a_metric_of_the_contract_has_its_name_and_its_labels(promised: str) -> None:
    name, labels = promised.rstrip("}").split("{")
    series = promql.declared()
    found = series.get(f"vigil_{name}", series.get(f"vigil_{name}_count"))
    assert found == {label for label in labels.split(",") if label}


@pytest.mark.parametrize("name", sorted(DECLARED))
def test_somebody_measures_it(name: str) -> None:
    used = re.compile(rf"\bmetrics\.{name}\b")
    assert any(used.search(path.read_text()) for path in SOURCES)


def test_no_label_names_a_source_or_a_person() -> None:
    forbidden = {
        "device",
        "guard",
        "person",
        "tenant",
        "source",
        "user",
        "device_id",
        "guard_id",
        "tenant_id",
        "client_id",
    }
    assert not set().union(*promql.declared().values()) & forbidden
