"""The mirror of docs/reference/change-feed.md, run as it is printed."""

import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from app.embedded import EmbeddedNode
from coinswarm_memory import Memory
from tests.conftest import DIMENSION
from tests.kit.service_process import REPOSITORY, service_process

PAGE = REPOSITORY / "docs/reference/change-feed.md"


def until(is_so: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def rewards(file: Path) -> dict[str, float | None]:
    if not file.exists():
        return {}
    with sqlite3.connect(file) as db:
        try:
            return dict(db.execute("SELECT id, reward FROM memories").fetchall())
        except sqlite3.OperationalError:  # no table yet, or it is being written
            return {}


def test_the_printed_mirror_follows(empty_node: EmbeddedNode, tmp_path: Path) -> None:
    (program,) = re.findall(r"```python\n(import json, sqlite3.*?)```", PAGE.read_text(), re.DOTALL)
    script, file = tmp_path / "mirror.py", tmp_path / "memories.db"
    script.write_text(program)
    states = np.random.default_rng(0).normal(size=(5, DIMENSION))
    with (
        service_process(redis_url=empty_node.url, dimension=DIMENSION) as service,
        Memory(service.url) as memory,
    ):
        me = memory.agent("a")
        for i, state in enumerate(states[:3]):
            me.remember(state, id=f"m{i}", reward=float(i))
        command = [sys.executable, str(script), service.url, "a", str(file)]
        mirror = subprocess.Popen(command)
        try:
            until(lambda: rewards(file) == {"m0": 0.0, "m1": 1.0, "m2": 2.0})
            me.delete("m1")
            me.remember(states[3], id="m3")
            me.close("m3", reward=3.0)
            until(lambda: rewards(file) == {"m0": 0.0, "m2": 2.0, "m3": 3.0})
        finally:
            mirror.kill()
            mirror.wait()
        me.delete("m0")
        again = subprocess.Popen(command)
        try:
            until(lambda: rewards(file) == {"m2": 2.0, "m3": 3.0})
        finally:
            again.kill()
            again.wait()
