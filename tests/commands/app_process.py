"""A command as its users run it: `python -m app ...` in a process of its own."""

import subprocess
import sys
from collections.abc import Sequence

from tests.service_process import REPOSITORY, environment

TIMEOUT_S = 40.0


def run_app(
    *words: object, program: Sequence[str] = ("-m", "app"), **settings: object
) -> tuple[int, str]:
    """Run a command with these settings; its exit status and all that it said."""
    done = subprocess.run(
        [sys.executable, *program, *map(str, words)],
        cwd=REPOSITORY,
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr
