"""Nobody sees half of a module that another thread is importing."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from app.extras.load import load, load_in_thread
from tests.kit.service_process import REPOSITORY

FIRST_REQUESTS = """
import asyncio

from app.api.columns.media import arrow


async def ask(delay_s):
    await asyncio.sleep(delay_s)
    return (await arrow()).RecordBatch


async def main():
    await asyncio.gather(*(ask(i / 1000) for i in range(100)))


asyncio.run(main())
"""


def test_the_first_requests_for_columns_get_all_of_the_library() -> None:
    words = [sys.executable, "-c", FIRST_REQUESTS]
    ended = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-500:]


async def test_one_import_for_all_callers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "slow_to_import.py").write_text("import time\ntime.sleep(0.2)\nIS_WHOLE = True\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = await asyncio.gather(*(load_in_thread("slow_to_import") for _ in range(5)))
    assert [module.IS_WHOLE for module in found] == [True] * 5
    assert load("slow_to_import") is found[0]
    with pytest.raises(ImportError):
        await load_in_thread("not_to_be_found_anywhere")
