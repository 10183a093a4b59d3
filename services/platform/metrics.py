"""Every metric of Vigil, declared once with its meaning beside it.

No label has the name of a device, guard, person or tenant. All processes of a host write to the
files of `PROMETHEUS_MULTIPROC_DIR` (`services/platform/metrics_export.py`); `/metrics/export/` adds
them up. A gauge that one process alone measures has a label. Without one, every other process would
write a zero for it.
"""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from services.platform import metrics_export

metrics_export.write_as_this_process()

LATENCY_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1, 2.5, 5, 10, 30)

mqtt_message_processed = Counter(
    "vigil_mqtt_message_processed_total",
    "Messages taken over from the broker: their event is confirmed by RabbitMQ.",
    ["topic_prefix", "qos"],
)
mqtt_message_rejected = Counter(
    "vigil_mqtt_message_rejected_total",
    "Messages refused, by reason; all are kept.",
    ["topic_prefix", "reason"],
)
mqtt_message_ignored = Counter(
    "vigil_mqtt_message_ignored_total",
    "Valid messages that Vigil does not keep: messages of OwnTracks phones that are not positions.",
    ["topic_prefix"],
)
position_off_shift = Counter(
    "vigil_position_off_shift_total",
    "Positions that were not stored, because their tenant wants none outside of shifts.",
)
security_event = Counter(
    "vigil_security_events_total",
    "Security events: a source that sends for another, a wrong password, a token used twice.",
    ["event"],
)
mqtt_processing_duration = Histogram(
    "vigil_mqtt_processing_duration_seconds",
    "From the arrival at the gateway to RabbitMQ's confirm.",
    ["topic_prefix"],
    buckets=LATENCY_S,
)
mqtt_connected = Gauge(
    "vigil_mqtt_connected",
    "1 while a lane's connection to the broker does useful work.",
    ["lane"],
    multiprocess_mode="livemax",
)
mqtt_geofence_violation = Counter(
    "vigil_mqtt_geofence_violation_total", "Times a guard went from not violating to violating."
)
zone_unjudged = Counter(
    "vigil_zone_unjudged_total",
    "Times a tenant's fixes could not be judged: a zone that cannot be read. They are tried again, then dead letters.",
)
track_repaired = Counter(
    "vigil_track_repaired_total", "Times a guard's track was judged again, because fixes of it came late."
)
late_by_us = Counter(
    "vigil_late_by_us_total",
    "Fixes that were judged after a newer one although they were received before it: they were overtaken in Vigil.",
)
task_success = Counter("vigil_task_success_total", "Handler runs that ended well.", ["task_name"])
task_failure = Counter("vigil_task_failure_total", "Handler runs that failed.", ["task_name", "reason"])
task_retry = Counter("vigil_task_retry_total", "Messages put on the delay ladder.", ["task_name"])
consumer_paused = Gauge(
    "vigil_consumer_paused",
    "1 while a consumer waits for a server that is away: postgres, amqp, redis, mqtt. Its events wait in RabbitMQ.",
    ["queue", "server"],
    multiprocess_mode="livemax",
)
event_published = Counter(
    "vigil_event_published_total",
    "Events that RabbitMQ confirmed, by service and type; one that is sent again counts again.",
    ["event"],
)
event_settled = Counter(
    "vigil_event_settled_total",
    "Events that a handler is done with: handled, or given up on. One that is tried again later is not.",
    ["queue"],
)
event_in_hand = Gauge(
    "vigil_event_in_hand",
    "Events that a process has taken and not yet acknowledged, those that wait for a server among them.",
    ["queue"],
    multiprocess_mode="livesum",
)
event_consumers = Gauge(
    "vigil_event_consumers",
    "Processes that take events from a queue.",
    ["queue"],
    multiprocess_mode="livesum",
)
events_unaccounted = Gauge(
    "vigil_events_unaccounted",
    "Events that were published and are neither settled nor in a queue or process, beyond the lowest count seen.",
    ["window"],
    multiprocess_mode="livemostrecent",
)
task_duration = Histogram(
    "vigil_task_duration_seconds", "How long a handler ran.", ["task_name"], buckets=LATENCY_S
)
queue_depth = Gauge(
    "vigil_queue_depth", "Messages waiting in a queue.", ["queue"], multiprocess_mode="livemostrecent"
)
events_held = Gauge(
    "vigil_events_held",
    "Messages of a queue that processes have taken and not settled; they are not in its depth.",
    ["queue"],
    multiprocess_mode="livesum",
)
worker_active = Gauge(
    "vigil_worker_active", "Handlers running now.", ["service"], multiprocess_mode="livesum"
)
worker_capacity = Gauge(
    "vigil_worker_capacity", "Handlers that may run at once.", ["service"], multiprocess_mode="livesum"
)
dead_letter = Counter("vigil_dead_letter_total", "Messages given up on; all are kept.", ["queue", "reason"])
websocket_connections = Gauge(
    "vigil_websocket_connections", "Open NOC sockets.", ["role"], multiprocess_mode="livesum"
)
websocket_broadcast_success = Counter(
    "vigil_websocket_broadcast_success_total",
    "Frames handed to a socket's outbox.",
    ["group_prefix", "message_type"],
)
websocket_broadcast_failure = Counter(
    "vigil_websocket_broadcast_failure_total",
    "Frames that could not be sent.",
    ["group_prefix", "error_type"],
)
websocket_delivery = Histogram(
    "vigil_websocket_delivery_seconds",
    "From the making of a frame to its writing on a socket.",
    ["message_type"],
    buckets=LATENCY_S,
)
websocket_closed = Counter("vigil_websocket_closed_total", "NOC sockets closed, by code.", ["code"])
end_to_end = Histogram(
    "vigil_end_to_end_seconds",
    "From the arrival at the gateway to the commit (stored) or to the socket (noc).",
    ["stage"],
    buckets=LATENCY_S,
)
alerts_open = Gauge("vigil_alerts_open", "Open alerts.", ["severity"], multiprocess_mode="livemostrecent")
alert_notification_sent = Counter(
    "vigil_alert_notification_sent_total", "Notifications accepted.", ["channel", "severity"]
)
alert_notification_failed = Counter(
    "vigil_alert_notification_failed_total", "Attempts to notify that failed.", ["channel", "error_type"]
)
external_service_circuit_open = Gauge(
    "vigil_external_service_circuit_open",
    "1 while a provider is not called because it failed repeatedly.",
    ["service"],
    multiprocess_mode="livemax",
)
external_service_call = Histogram(
    "vigil_external_service_call_seconds",
    "How long a provider took to answer.",
    ["service"],
    buckets=LATENCY_S,
)
hub_lag = Gauge(
    "vigil_hub_lag_seconds",
    "How late eventlet's hub woke a sleeper: a native call blocked the whole process for this time.",
    ["service"],
    multiprocess_mode="livemax",
)
process_restart = Counter(
    "vigil_process_restart_total",
    "Unplanned ends of a process; `stalled`: its loop or its work stood still. Counted at the next start.",
    ["process", "cause"],
)

notification_dropped = Counter(
    "vigil_supervisor_notification_dropped_total",
    "Signs of life that the supervisor did not take; `queue_full`: it does not read, `nobody_listens`: it has ended.",
    ["reason"],
)

# Metrics that only the watchdog process measures: it watches the services from outside.

dependency_up = Gauge(
    "vigil_dependency_up",
    "1 while a server that Vigil needs answers: postgres, amqp, redis, mqtt.",
    ["dependency"],
    multiprocess_mode="livemostrecent",
)
watchdog_last_success = Gauge(
    "vigil_watchdog_last_success_timestamp_seconds",
    "When a test message last came from MQTT to a socket of the control room, by lane.",
    ["lane"],
    multiprocess_mode="mostrecent",
)
watchdog_round_trip = Histogram(
    "vigil_watchdog_round_trip_seconds",
    "From the publishing of a test message to its frame on a socket of the control room.",
    ["lane"],
    buckets=LATENCY_S,
)
watchdog_failure = Counter(
    "vigil_watchdog_failure_total",
    "Test messages that did not arrive, by lane and by the last place where they were seen.",
    ["lane", "stage"],
)
mqtt_broker_dropped = Gauge(
    "vigil_mqtt_broker_dropped_messages",
    "Messages that the broker dropped since its start, by its own count ($SYS).",
    ["broker"],
    multiprocess_mode="livemostrecent",
)
mqtt_broker_clients = Gauge(
    "vigil_mqtt_broker_connected_clients",
    "Clients connected to the broker, by its own count ($SYS).",
    ["broker"],
    multiprocess_mode="livemostrecent",
)
database_size = Gauge(
    "vigil_database_size_bytes",
    "Size of Vigil's database on disk.",
    ["database"],
    multiprocess_mode="livemostrecent",
)
partition_default_rows = Gauge(
    "vigil_partition_default_rows",
    "Rows in default partitions; counted up to 10,000.",
    ["table"],
    multiprocess_mode="livemostrecent",
)
partition_horizon = Gauge(
    "vigil_partition_horizon_timestamp_seconds",
    "End of the newest partition.",
    ["table"],
    multiprocess_mode="livemostrecent",
)
disk_free = Gauge(
    "vigil_disk_free_ratio",
    "Free share, 0 to 1, of the file system that holds Vigil's home.",
    ["volume"],
    multiprocess_mode="livemostrecent",
)
certificate_expiry = Gauge(
    "vigil_certificate_expiry_timestamp_seconds",
    "When a certificate that Vigil's parts show each other runs out.",
    ["certificate"],
    multiprocess_mode="livemostrecent",
)
clock_offset = Gauge(
    "vigil_clock_offset_seconds",
    "This machine's clock less PostgreSQL's.",
    ["against"],
    multiprocess_mode="livemostrecent",
)
backup_last_success = Gauge(
    "vigil_backup_last_success_timestamp_seconds",
    "When the newest verified backup was made; 0: never.",
    ["kind"],
    multiprocess_mode="livemostrecent",
)
