"""The TypeScript client: its types are made of the document, compiled, and tried on the service.

`make test-ts` installs what it needs; without that the run says so in one line.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from app.embedded import EmbeddedNode
from tests.kit.documented import PRINTED_URL, examples
from tests.kit.service_process import REPOSITORY, service_process

CLIENT = REPOSITORY / "clients/typescript"
PACKAGE = "coinswarm-memory-client"


@pytest.mark.skipif(
    shutil.which("node") is None or not (CLIENT / "node_modules").is_dir(),
    reason="NOT CHECKED: the TypeScript client; run make test-ts",
)
@pytest.mark.timeout(300)
def test_it_compiles_and_does_what_its_users_do(empty_node: EmbeddedNode, tmp_path: Path) -> None:
    for folder in ("src", "test"):
        shutil.copytree(CLIENT / folder, tmp_path / folder)
    for name in ("package.json", "tsconfig.json", "tsconfig.build.json", "node_modules"):
        (tmp_path / name).symlink_to(CLIENT / name)
    with service_process(redis_url=empty_node.url, dimension=256) as service:
        (tmp_path / "test/printed.test.ts").write_text(_printed(service.url))
        written = _run(tmp_path, service.url, "run", "generate")
        assert "warn" not in written.lower()
        _run(tmp_path, service.url, "run", "check")
        assert "2 passed" in _run(tmp_path, service.url, "test")
        _run(tmp_path, service.url, "run", "build")
    assert (tmp_path / "dist/index.js").exists()


def _printed(url: str) -> str:
    """The README's examples, as a file of tests."""
    code = "\n".join(source for _, source in examples(CLIENT / "README.md", "ts"))
    ran = (
        '\nimport { expect, test } from "vitest";\ntest("ran", () => expect(found.count).toBe(1));'
    )
    return code.replace(PRINTED_URL, url).replace(PACKAGE, "../src/index.js") + ran


def _run(folder: Path, url: str, *script: str) -> str:
    done = subprocess.run(
        ["npm", "--offline", *script],
        cwd=folder,
        env={**os.environ, "MEMORY_URL": url, "NO_COLOR": "1", "CI": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr
