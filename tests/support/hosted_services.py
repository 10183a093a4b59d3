"""Services that a test hosts in its own process, on the real RabbitMQ."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import eventlet
from nameko.containers import ServiceContainer

from ops.run import nameko_config
from services.platform.config import Config


@contextmanager
def hosting(config: Config) -> Iterator[Callable[[type], ServiceContainer]]:
    """Yield a function that starts a service class. All started services are stopped at the end."""
    running: list[ServiceContainer] = []

    def start(cls: type) -> ServiceContainer:
        container = ServiceContainer(cls, nameko_config(config, cls.name))  # type: ignore[attr-defined]
        container.start()
        running.append(container)
        return container

    yield start
    for container in running:
        container.stop()


def wait_until(condition: Callable[[], bool], timeout_s: float = 15.0) -> None:
    """Let the services run until the condition holds.

    Raises:
        AssertionError: The condition does not hold within `timeout_s`.
    """
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, "it did not come to pass in time"
        eventlet.sleep(0.02)
