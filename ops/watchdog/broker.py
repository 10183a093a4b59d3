"""The broker's own figures ($SYS) that an operator must see."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable

from gateway.mqtt import packets
from ops.servers.mqtt_connection import PING_S, connect
from ops.watchdog.sources import login
from services.contracts.errors import Unavailable
from services.platform.config import Config

PREFIX = "$SYS/broker/"
FILTER = PREFIX + "#"
DROPPED = PREFIX + "publish/messages/dropped"
CLIENTS = PREFIX + "clients/connected"
SILENCE_S = 45.0
"""Time without a figure after which the connection counts as broken.

The broker publishes its figures every 10 s (sys_interval).
"""


def listen(config: Config, on_figure: Callable[[str, str], None]) -> None:
    """Call `on_figure(topic, text)` for every figure, until the connection breaks.

    Raises:
        Unavailable: the connection broke, or the broker refuses the figures.
    """
    name = f"vigil-watchdog-sys-{secrets.token_hex(4)}"
    known_as = login(config)
    with connect(config.mqtt, name, username=known_as["username"], password=known_as["password"]) as sock:
        sock.settimeout(SILENCE_S)
        reader, pinged_s = packets.PacketReader(), time.monotonic()

        try:
            sock.sendall(packets.subscribe(FILTER, qos=0))
            while data := sock.recv(65_536):
                for first, body in reader.feed(data):
                    if first == packets.SUBACK and body[-1] & 0x80:
                        raise Unavailable(
                            f"the MQTT broker does not let {known_as['username'] or 'us'} read {FILTER}"
                        )
                    if first & 0xF0 == packets.PUBLISH:
                        message = packets.parse_publish(first, body, 0, len(body))
                        on_figure(message.topic.decode(), message.payload.decode("utf-8", "replace"))

                # By the clock: the answer to a ping is data too, and would cause the next ping at
                # once.
                if time.monotonic() - pinged_s > PING_S:
                    sock.sendall(packets.PINGREQ)
                    pinged_s = time.monotonic()
        except OSError as error:
            raise Unavailable(f"the MQTT broker: {error}") from error

    raise Unavailable("the MQTT broker closed the connection")
