"""A command as its users run it: `python -m app ...`."""

import contextlib
import io
import subprocess
import sys
import threading
from collections.abc import Sequence

import pytest

from app.commands import command_line
from tests.kit.service_process import REPOSITORY, WITH_DEFAULT_SIGNALS, environment

TIMEOUT_S = 120.0
_ONE_AT_A_TIME = threading.Lock()
"""There is one environment, and one standard output."""


def run_app(*words: object, **settings: object) -> tuple[int, str]:
    """Run a command with these settings; its exit status and all that it said."""
    status, said, trouble = run_app_apart(*words, **settings)
    return status, said + trouble


def run_app_apart(*words: object, **settings: object) -> tuple[int, str, str]:
    """The same, with what it said on standard output and on standard error.

    On a thread, with an event loop of its own: a process takes longer to load the service's code
    than most commands need.
    """
    statuses: list[int] = []
    said, trouble = io.StringIO(), io.StringIO()

    def run() -> None:
        try:
            statuses.append(command_line.run([str(word) for word in words]))
        except SystemExit as ended:
            statuses.append(int(ended.code or 0))

    with _ONE_AT_A_TIME, pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(f"MEMORY_{name.upper()}", str(value))
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(trouble):
            thread = threading.Thread(target=run, daemon=True)
            thread.start()
            thread.join(TIMEOUT_S)
    assert statuses, f"it does not end, or did so with a traceback: {trouble.getvalue()}"
    return statuses[0], said.getvalue(), trouble.getvalue()


def run_app_process(
    *words: object, program: Sequence[str] = ("-m", "app"), **settings: object
) -> tuple[int, str]:
    """As `run_app`, in a process of its own."""
    done = subprocess.run(
        [*WITH_DEFAULT_SIGNALS, sys.executable, *program, *map(str, words)],
        cwd=REPOSITORY,
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr
