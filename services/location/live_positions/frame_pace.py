"""Pauses between two rounds of positions to the feed. Pure: the time is an argument."""

from __future__ import annotations


class FramePace:
    """Pace of the rounds: a round begins at once when the one before it is long enough ago.

    Otherwise the round waits until then. The pause grows with the cost of a round, so that rounds
    take no more than `share` of the time. With few positions the pause is `shortest_s`, with many
    `longest_s`.
    """

    def __init__(self, *, shortest_s: float, longest_s: float, share: float) -> None:
        if not 0 < shortest_s <= longest_s or not 0 < share <= 1:
            raise ValueError("0 < shortest_s <= longest_s, and the share is a part of the time")
        self._shortest_s = shortest_s
        self._longest_s = longest_s
        self._share = share
        self._next_s = float("-inf")

    def rest_s(self, *, now_s: float) -> float:
        """Return the seconds until the next round may begin."""
        return max(0.0, self._next_s - now_s)

    def ended(self, *, began_s: float, now_s: float) -> None:
        """Note a round. The next one begins a pause after the beginning of this one."""
        pause_s = (now_s - began_s) / self._share
        self._next_s = began_s + min(max(pause_s, self._shortest_s), self._longest_s)
