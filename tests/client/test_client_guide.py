"""The tutorial's code runs as printed, and prints what is printed there."""

import os
import re
import subprocess
import sys
from pathlib import Path

from app.embedded import EmbeddedNode
from tests.kit.service_process import REPOSITORY, service_process

GUIDE = (REPOSITORY / "docs/guide/first-agent.md").read_text()
ADDRESS = "http://127.0.0.1:8000"


def blocks(kind: str) -> str:
    return "\n".join(re.findall(rf"```{kind}\n(.*?)```", GUIDE, re.DOTALL))


def test_the_first_agent_runs_as_printed(empty_node: EmbeddedNode, tmp_path: Path) -> None:
    code = blocks("python")
    assert code.count(ADDRESS) == 1
    with service_process(redis_url=empty_node.url) as service:
        ran = subprocess.run(
            [sys.executable, "-W", "error", "-c", code.replace(ADDRESS, service.url)],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(REPOSITORY / "clients/python/src")},
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split() == blocks("text").split()
    assert (tmp_path / "first-agent.png").stat().st_size > 5000
