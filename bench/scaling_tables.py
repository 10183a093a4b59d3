"""`python -m bench.scaling_tables`: the tables of docs/scaling.md.

They come from `.vigil/bench.json` and from the simulation.
"""

from __future__ import annotations

import json
import sys

from bench import shard_balance
from bench.goals import value_at
from bench.measures import capacity
from ops.environment import home

NUMBERS = (100_000, 1_000_000)


def main() -> int:
    path = home() / "bench.json"
    if not path.exists():
        print(f"there is no {path}: `python -m bench --only vigil` makes it", file=sys.stderr)
        return 1

    figures = json.loads(path.read_text())
    cpu = figures.get("cpu_s_per_1000", {}).get("vigil")
    if cpu is None:
        print(f"{path} has no flood of Vigil's: `python -m bench --only vigil` makes it", file=sys.stderr)
        return 1

    print("\n".join(capacity.table(cpu, value_at(figures, "growth.gb_per_1000_sources_day"), NUMBERS)))
    print()
    print("\n".join(shard_balance.lines()))

    return 0


if __name__ == "__main__":
    sys.exit(main())
