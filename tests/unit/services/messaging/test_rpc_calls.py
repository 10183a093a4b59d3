"""Tests of RPCs that are methods of the parts of a service."""

import inspect
from types import SimpleNamespace
from typing import Any

import pytest
from nameko.extensions import ENTRYPOINT_EXTENSIONS_ATTR

from services.messaging import rpc_methods_of, rpc_of
from services.messaging.rpc_calls import MeasuredRpc


class Shelf:
    def list_rows(self, kind: str, tenant_id: int, *, limit: int = 10) -> list[object]:
        """Return rows."""
        return [kind, tenant_id, limit]


class Desk:
    def add(self, *, tenant_id: int, **fields: Any) -> dict[str, Any]:
        return {"tenant_id": tenant_id, **fields}

    def _secret(self) -> str:
        return "not served"


@rpc_methods_of(desk=Desk)
class Library:
    name = "library"

    list_books = rpc_of("shelf", Shelf.list_rows, kind="book")


def library() -> Any:
    service: Any = Library()
    service.parts = SimpleNamespace(shelf=Shelf(), desk=Desk())
    return service


def test_a_call_reaches_the_method_of_the_part_with_the_fixed_arguments() -> None:
    assert library().list_books(tenant_id=3) == ["book", 3, 10]
    assert library().list_books(tenant_id=3, limit=1) == ["book", 3, 1]
    assert library().add(tenant_id=3, title="A") == {"tenant_id": 3, "title": "A"}


def test_the_signature_is_that_of_the_method_by_keyword_and_without_what_is_fixed() -> None:
    assert str(inspect.signature(Library.list_books)) == (
        "(self, *, tenant_id: int, limit: int = 10) -> list[object]"
    )
    assert Library.list_books.__doc__ == "Return rows."


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [((), {}), ((3,), {}), ((), {"tenant_id": 3, "kind": "user"}), ((), {"tenant_id": 3, "more": 1})],
    ids=["nothing", "by position", "a fixed argument", "an unknown argument"],
)
def test_a_request_that_does_not_fit_the_signature_is_refused(args: Any, kwargs: Any) -> None:
    # Nameko checks requests in this way, before it starts a worker.
    with pytest.raises(TypeError):
        inspect.getcallargs(Library.list_books, None, *args, **kwargs)


def test_each_is_an_entrypoint_and_private_methods_are_not() -> None:
    served = {
        name
        for name, method in inspect.getmembers(Library, inspect.isfunction)
        if any(isinstance(found, MeasuredRpc) for found in getattr(method, ENTRYPOINT_EXTENSIONS_ATTR, ()))
    }
    assert served == {"list_books", "add"}


def test_two_methods_of_one_name_are_an_error() -> None:
    with pytest.raises(TypeError, match="Library has two methods 'add'"):
        rpc_methods_of(other=Desk)(Library)
