"""A queue whose items run a few at once: tenants in turn, each with its sources in turn. Pure.

A tenant has a share of the places only. The first item of another tenant therefore always finds a
place, or waits for one run. Items of one source run one after another, in the order in which they
came.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")


class Sender(NamedTuple):
    """The tenant and the source of an item.

    `tenant_id` None: the tenant is unknown. All such items count as one tenant's.
    """

    tenant_id: int | None
    source: str


class _Waiting(Generic[T]):
    """The waiting items of one tenant.

    `ready`: sources that have items and no running item, in the order of their turns.
    """

    def __init__(self) -> None:
        self.items: dict[str, deque[T]] = {}
        self.ready: OrderedDict[str, None] = OrderedDict()
        self.running: set[str] = set()


class FairTurns(Generic[T]):
    """Items that wait for their turn.

    Args:
        places: How many items may run at once.
        of_tenant: How many of them may be one tenant's.
    """

    def __init__(self, *, places: int, of_tenant: int) -> None:
        if not 0 < of_tenant <= places:
            raise ValueError("a tenant has at least one place, and no more than all")
        self._places = places
        self._of_tenant = of_tenant
        self._tenants: dict[int | None, _Waiting[T]] = {}
        self._turns: list[OrderedDict[int | None, None]] = [OrderedDict() for _ in range(of_tenant)]
        """Tenants with ready items, by the number of their running items, in order of turns."""
        self._running = 0
        self._waiting = 0

    def __len__(self) -> int:
        return self._waiting

    def put(self, sender: Sender, item: T) -> None:
        """Put an item behind the others of its source."""
        mine = self._tenants.setdefault(sender.tenant_id, _Waiting())
        mine.items.setdefault(sender.source, deque()).append(item)
        self._waiting += 1
        if sender.source not in mine.running:
            mine.ready.setdefault(sender.source)
        self._set_turn(sender.tenant_id, mine)

    def take(self) -> tuple[Sender, T] | None:
        """Return the item that runs next; None when there is no item, or no place.

        Call `leave` when the item is done.
        """
        if self._running >= self._places:
            return None

        turns = next((turns for turns in self._turns if turns), None)
        if turns is None:
            return None

        tenant_id = next(iter(turns))
        mine = self._tenants[tenant_id]
        source, _ = mine.ready.popitem(last=False)
        item = mine.items[source].popleft()
        self._running += 1
        self._waiting -= 1
        del turns[tenant_id]
        mine.running.add(source)
        self._set_turn(tenant_id, mine)

        return Sender(tenant_id, source), item

    def leave(self, sender: Sender) -> None:
        """Give back the place of an item that was taken."""
        mine = self._tenants[sender.tenant_id]
        self._running -= 1
        self._turns_of(mine).pop(sender.tenant_id, None)
        mine.running.remove(sender.source)

        if mine.items[sender.source]:
            mine.ready[sender.source] = None
        else:
            del mine.items[sender.source]
        if mine.items:
            self._set_turn(sender.tenant_id, mine)
        else:
            del self._tenants[sender.tenant_id]

    def _set_turn(self, tenant_id: int | None, mine: _Waiting[T]) -> None:
        """Put a tenant behind those with as many running items, unless it is there already."""
        if mine.ready and len(mine.running) < self._of_tenant:
            self._turns[len(mine.running)].setdefault(tenant_id)

    def _turns_of(self, mine: _Waiting[T]) -> OrderedDict[int | None, None]:
        running = len(mine.running)
        return self._turns[running] if running < self._of_tenant else OrderedDict()
