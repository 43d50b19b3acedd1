"""TypeScript that uses what openapi-typescript makes of the document compiles.

`make test-typescript` installs what it needs; without that the run says so in one line.
"""

import asyncio
import shutil
import subprocess
from pathlib import Path

import httpx
import pytest

HERE = Path(__file__).parent
NEEDED = ("package.json", "node_modules")


@pytest.mark.skipif(
    shutil.which("node") is None or not (HERE / "node_modules").is_dir(),
    reason="NOT CHECKED: the OpenAPI document with TypeScript; run make test-typescript",
)
async def test_a_store_and_a_batch_of_searches_compile(
    api: httpx.AsyncClient, tmp_path: Path
) -> None:
    (tmp_path / "openapi.json").write_bytes((await api.get("/openapi.json")).content)
    shutil.copy(HERE / "store.ts", tmp_path)
    for name in NEEDED:
        (tmp_path / name).symlink_to(HERE / name)
    made = await _run(tmp_path, "openapi-typescript", "openapi.json", "-o", "memory.d.ts")
    assert made.returncode == 0, made.stdout + made.stderr
    assert "warn" not in (made.stdout + made.stderr).lower()
    options = ["--strict", "--noEmit", "--skipLibCheck", "--target", "es2022"]
    modules = ["--module", "nodenext", "--moduleResolution", "nodenext"]
    compiled = await _run(tmp_path, "tsc", *options, *modules, "store.ts")
    assert compiled.returncode == 0, compiled.stdout


async def _run(folder: Path, tool: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return await asyncio.to_thread(
        subprocess.run,
        [f"node_modules/.bin/{tool}", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
