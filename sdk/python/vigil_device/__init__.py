"""Outbox for devices that report to Vigil.

from vigil_device import Outbox

outbox = Outbox(
    "outbox.db",
    source_id="guard-789",
    host="broker.example",
    username="guard-789",
    password="...",
)
outbox.send_alert("PANIC", message="help", lat=12.97, lon=77.59)
"""

from vigil_device.clock import ClockOffset
from vigil_device.messages import Kind, Message, Receipt, SetAside, State, Update
from vigil_device.outbox import Outbox
from vigil_device.policy import Policy
from vigil_device.store import OutboxInUse, StoreFailed

__all__ = [
    "ClockOffset",
    "Kind",
    "Message",
    "Outbox",
    "OutboxInUse",
    "Policy",
    "Receipt",
    "SetAside",
    "State",
    "StoreFailed",
    "Update",
]
