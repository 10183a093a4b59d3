"""Limits on connections that are open at once, in total and for each address. Pure."""

from __future__ import annotations

from collections import Counter


class ConnectionCounts:
    """Counts of open connections by address. With `total` None, only addresses are limited."""

    def __init__(self, *, per_address: int, total: int | None = None) -> None:
        if per_address < 1 or (total is not None and total < 1):
            raise ValueError("at least one connection may be open")
        self._per_address = per_address
        self._total = total
        self._open: Counter[str] = Counter()
        self.open_total = 0

    def open(self, address: str | None) -> bool:
        """Count one more connection; with `address` None, count it for no address.

        Returns:
            False when the address, or all addresses together, have as many as they may.
        """
        if self._total is not None and self.open_total >= self._total:
            return False
        if address is not None:
            if self._open[address] >= self._per_address:
                return False
            self._open[address] += 1
        self.open_total += 1
        return True

    def close(self, address: str | None) -> None:
        """Count one connection less: one that `open` counted is closed."""
        self.open_total -= 1
        if address is None:
            return
        self._open[address] -= 1
        if self._open[address] <= 0:
            del self._open[address]
