"""Commands of `vigil`, as an operator runs them."""

import subprocess
import sys
from pathlib import Path

from ops.environment import PROJECT


def run_vigil(environment: dict[str, str], *arguments: str, check: bool = True, given: str = "") -> str:
    """Run a command with a text as its input, and return its output.

    Raises:
        AssertionError: The command failed. With `check=False` a failed command returns its output
            too.
    """
    command = [sys.executable, "-m", "ops.cli", *arguments]
    done = subprocess.run(
        command, check=False, input=given, capture_output=True, text=True, env=environment, cwd=Path(PROJECT)
    )
    if check and done.returncode != 0:
        raise AssertionError(f"vigil {' '.join(arguments)}: {done.stdout}{done.stderr}")
    return done.stdout if check else done.stdout + done.stderr
