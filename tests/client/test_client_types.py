"""A user with mypy --strict sees the client's types, and his mistakes."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.kit.service_process import REPOSITORY

USAGE = Path(__file__).parent / "typed_usage.py"


@pytest.mark.timeout(300)
def test_a_strict_user_is_content(tmp_path: Path) -> None:
    assert (REPOSITORY / "clients/python/src/coinswarm_memory/py.typed").exists()
    options = ["--strict", "--warn-unreachable", "--config-file=", "--follow-imports=silent"]
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", *options, str(USAGE)],
        cwd=REPOSITORY,
        env={"MYPYPATH": str(REPOSITORY / "clients/python/src"), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
