"""Options that commands of several nouns take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def tenant_option(command: F) -> F:
    return click.option("--tenant", "tenant_id", type=int, default=1, show_default=True, help="Tenant id.")(
        command
    )


def site_option(command: F) -> F:
    return click.option("--site", "site_id", type=int, help="Site id.")(command)
