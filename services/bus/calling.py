"""RPC between services: Nameko's, with a deadline, our serializer and our errors."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

import eventlet
import kombu.serialization
import msgspec
from nameko.exceptions import RemoteError, RpcTimeout, UnknownService, deserialize_to_instance
from nameko.extensions import DependencyProvider
from nameko.rpc import ReplyListener, Rpc, ServiceProxy

from services import errors, metrics
from services.config import Config
from services.errors import Refused, Unavailable, VigilError

F = TypeVar("F", bound=Callable[..., Any])

SERIALIZER = "vigil-rpc"
CONTENT_TYPE = "application/vnd.vigil.rpc+msgpack"

kombu.serialization.register(
    SERIALIZER, msgspec.msgpack.encode, msgspec.msgpack.decode, CONTENT_TYPE, "binary"
)
for error_class in (
    errors.Unavailable,
    errors.Refused,
    errors.NotFound,
    errors.Conflict,
    errors.NotAuthenticated,
    errors.Forbidden,
    errors.TooMany,
):
    deserialize_to_instance(error_class)


class MeasuredRpc(Rpc):
    """Counts its calls; what the caller did wrong is no failure of ours."""

    def handle_message(self, body: Any, message: Any) -> None:
        message.started = time.perf_counter()
        super().handle_message(body, message)

    def handle_result(self, message: Any, worker_ctx: Any, result: Any, exc_info: Any) -> Any:
        metrics.task_duration.labels(self.method_name).observe(time.perf_counter() - message.started)
        if exc_info is None or isinstance(exc_info[1], Refused):
            metrics.task_success.labels(self.method_name).inc()
        else:
            metrics.task_failure.labels(self.method_name, exc_info[0].__name__).inc()
        return super().handle_result(message, worker_ctx, result, exc_info)


def rpc(method: F) -> F:
    """Serve the method to other services."""
    decorated: F = MeasuredRpc.decorator(expected_exceptions=(VigilError,))(method)
    return decorated


class Caller:
    """`caller.get_alert(tenant_id=1, ...)`: keyword arguments only."""

    def __init__(self, proxy: ServiceProxy, replies: ReplyListener, service: str, timeout_s: float) -> None:
        self._proxy = proxy
        self._replies = replies
        self._service = service
        self._timeout_s = timeout_s

    def __getattr__(self, method: str) -> Callable[..., Any]:
        def call(**arguments: Any) -> Any:
            late = Unavailable(f"{self._service}.{method} did not answer within {self._timeout_s:g} s")
            try:
                with eventlet.Timeout(self._timeout_s, late):
                    # Returns at once when it runs. A loop can be quicker than the queue that answers come to.
                    self._replies.queue_consumer.start()
                    return getattr(self._proxy, method)(**arguments)
            except (UnknownService, RpcTimeout) as error:
                raise Unavailable(f"nobody serves {self._service!r} now") from error
            except (OSError, ConnectionError) as error:
                raise Unavailable(f"RabbitMQ: {error}") from error
            except RemoteError as error:
                raise VigilError(f"{self._service}.{method} failed: {error}") from error

        return call


class RpcProxy(DependencyProvider):
    """Injects a `Caller` for one service. Raises what the service raised, or `Unavailable`."""

    replies = ReplyListener()

    def __init__(self, service: str) -> None:
        self._service = service

    def get_dependency(self, worker_ctx: Any) -> Caller:
        config: Config = self.container.config["vigil"]
        proxy = ServiceProxy(worker_ctx, self._service, self.replies)
        return Caller(proxy, self.replies, self._service, config.amqp.rpc_timeout_s)
