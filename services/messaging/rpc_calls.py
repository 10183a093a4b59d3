"""RPC between services: Nameko's, with a deadline, our serializer and our errors.

Requests wait in a replicated queue, so that a service is reached whichever node of RabbitMQ dies.
Answers come to a queue that lives and dies with its caller's connection. A classic queue that
outlives the connection would be bound to a node. It could not be declared again while that node is
away.
"""

from __future__ import annotations

import inspect
import time
import uuid
from collections.abc import Callable
from typing import Any, TypeVar

import eventlet
import kombu.serialization
import msgspec
from amqp.exceptions import AMQPError
from kombu import Queue
from kombu.exceptions import KombuError
from nameko.exceptions import RemoteError, RpcTimeout, UnknownService, deserialize_to_instance
from nameko.extensions import DependencyProvider
from nameko.rpc import ReplyListener as NamekoReplyListener
from nameko.rpc import Rpc, ServiceProxy
from nameko.rpc import RpcConsumer as NamekoRpcConsumer

from services.contracts import errors
from services.contracts.errors import Refused, Unanswered, Unavailable, VigilError
from services.messaging.consumer import NodesConsumer
from services.messaging.timers import ServiceActivity
from services.messaging.topology import rpc_exchange, rpc_queue
from services.platform import metrics
from services.platform.config import Config

F = TypeVar("F", bound=Callable[..., Any])
C = TypeVar("C", bound=type)
R = TypeVar("R")

SERIALIZER = "vigil-rpc"
CONTENT_TYPE = "application/vnd.vigil.rpc+msgpack"

kombu.serialization.register(
    SERIALIZER, msgspec.msgpack.encode, msgspec.msgpack.decode, CONTENT_TYPE, "binary"
)
for error_class in (
    errors.SchemaBehind,
    errors.Unavailable,
    errors.Outage,
    errors.Unanswered,
    errors.Refused,
    errors.NotFound,
    errors.Conflict,
    errors.NotAuthenticated,
    errors.Forbidden,
    errors.TooMany,
):
    deserialize_to_instance(error_class)


class RpcQueueConsumer(NodesConsumer):
    """The connection for RPC, both requests and answers.

    Each new connection gets a new queue for answers.
    """

    def get_consumers(self, consumer_cls: Any, channel: Any) -> Any:
        for provider in self._providers:
            if isinstance(provider, ReplyListener):
                provider.renew()
        return super().get_consumers(consumer_cls, channel)


class RpcConsumer(NamekoRpcConsumer):
    """Consumer of the requests to this service."""

    queue: Queue | None
    queue_consumer = RpcQueueConsumer()

    def setup(self) -> None:
        if self.queue is None:
            self.queue = rpc_queue(self.container.service_name)
            self.queue_consumer.register_provider(self)


class ReplyListener(NamekoReplyListener):
    """Consumer of the answers to this process."""

    _reply_events: dict[str, Any]
    queue_consumer = RpcQueueConsumer()

    def setup(self) -> None:
        self._name_queue()
        self.queue_consumer.register_provider(self)

    def renew(self) -> None:
        """Start a new queue for answers, because the connection is a new one.

        Earlier requests are answered to a queue that no longer exists. Their callers get
        `Unanswered`.
        """
        waiting, self._reply_events = self._reply_events, {}
        for event in waiting.values():
            event.send_exception(Unanswered("the connection to RabbitMQ broke before the response arrived"))
        self._name_queue()

    def forget(self, correlation_id: str | None) -> None:
        """Drop the place of an answer that no caller waits for any more."""
        self._reply_events.pop(correlation_id or "", None)

    def _name_queue(self) -> None:
        self.routing_key = str(uuid.uuid4())
        self.queue = Queue(
            f"rpc.reply-{self.container.service_name}-{self.routing_key}",
            exchange=rpc_exchange(),
            routing_key=self.routing_key,
            durable=False,
            exclusive=True,
        )


class MeasuredRpc(Rpc):
    """RPC entrypoint that counts its calls. A caller's mistake is no failure of ours."""

    rpc_consumer = RpcConsumer()
    activity = ServiceActivity()

    def handle_message(self, body: Any, message: Any) -> None:
        message.started = time.perf_counter()
        super().handle_message(body, message)

    def handle_result(self, message: Any, worker_ctx: Any, result: Any, exc_info: Any) -> Any:
        self.activity.note()
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


def rpc_of(part: str, method: Callable[..., R], /, **fixed: Any) -> Callable[..., R]:
    """Serve a method of `parts.<part>` to other services, under the name that it is assigned to.

    `list_sites = rpc_of("store", DirectoryStore.list_rows, kind="site")` in the body of a service
    takes the place of a method that only forwards its arguments. Its parameters and docstring are
    those of the method, except parameters that are fixed. All are given by keyword.

    Args:
        part: The attribute of the service's `parts` that has the method.
        method: The method, as a function of its class.
        fixed: Arguments that callers do not give.
    """
    name = method.__name__

    def call(self: Any, /, **arguments: Any) -> R:
        served: R = getattr(getattr(self.parts, part), name)(**arguments, **fixed)
        return served

    signature = inspect.signature(method)
    this, *others = signature.parameters.values()
    asked = [
        other
        if other.kind is inspect.Parameter.VAR_KEYWORD
        else other.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for other in others
        if other.name not in fixed
    ]

    call.__name__, call.__qualname__, call.__doc__ = name, method.__qualname__, method.__doc__
    # Nameko checks a request against this signature before it calls the method.
    call.__signature__ = signature.replace(parameters=[this, *asked])  # type: ignore[attr-defined]

    return rpc(call)


def rpc_methods_of(**collaborators: type) -> Callable[[C], C]:
    """Serve all public methods of collaborators, under their own names.

    Args:
        collaborators: Classes by the attribute of the service's `parts` that has the object.
    """

    def extend(service: C) -> C:
        for part, collaborator in collaborators.items():
            for name, method in inspect.getmembers(collaborator, inspect.isfunction):
                if name.startswith("_"):
                    continue
                if hasattr(service, name):
                    raise TypeError(f"{service.__name__} has two methods {name!r}")
                setattr(service, name, rpc_of(part, method))
        return service

    return extend


class AwaitedReply:
    """The place of one call's answer.

    The place of an answer that never comes is dropped with its caller.
    """

    def __init__(self, replies: ReplyListener) -> None:
        self._replies = replies
        self._correlation_id: str | None = None

    @property
    def routing_key(self) -> str:
        return self._replies.routing_key

    def get_reply_event(self, correlation_id: str) -> Any:
        self._correlation_id = correlation_id
        return self._replies.get_reply_event(correlation_id)

    def forget(self) -> None:
        self._replies.forget(self._correlation_id)


class RpcClient:
    """Client of one service: `caller.get_alert(tenant_id=1, ...)`, with keyword arguments only.

    A request expires when its caller stops waiting. RabbitMQ then drops the request. It gives the
    request to no second worker when the first one died over it.
    """

    def __init__(self, worker_ctx: Any, replies: ReplyListener, service: str, timeout_s: float) -> None:
        self._worker_ctx = worker_ctx
        self._replies = replies
        self._service = service
        self._timeout_s = timeout_s

    def __getattr__(self, method: str) -> Callable[..., Any]:
        def call(**arguments: Any) -> Any:
            late = Unanswered(f"{self._service}.{method} did not answer within {self._timeout_s:g} s")
            awaited = AwaitedReply(self._replies)
            proxy = ServiceProxy(self._worker_ctx, self._service, awaited, expiration=self._timeout_s)

            try:
                with eventlet.Timeout(self._timeout_s, late):
                    # This returns at once when the consumer runs. A loop can start before the queue
                    # for answers exists.
                    self._replies.queue_consumer.start()
                    return getattr(proxy, method)(**arguments)
            except UnknownService as error:
                raise Unavailable(f"no process serves {self._service!r} now") from error
            except (RpcTimeout, OSError, AMQPError, KombuError) as error:
                raise Unanswered(f"RabbitMQ: {error or type(error).__name__}") from error
            except RemoteError as error:
                raise VigilError(f"{self._service}.{method} failed: {error}") from error
            finally:
                awaited.forget()

        return call


class RpcProxy(DependencyProvider):
    """Dependency that injects a `RpcClient` for one service.

    Calls raise what the service raised, `Unavailable`, or `Unanswered`.
    """

    replies = ReplyListener()

    def __init__(self, service: str) -> None:
        self._service = service

    def get_dependency(self, worker_ctx: Any) -> RpcClient:
        config: Config = self.container.config["vigil"]
        return RpcClient(worker_ctx, self.replies, self._service, config.amqp.rpc_timeout_s)
