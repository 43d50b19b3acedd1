"""Write the synchronous client from the asynchronous one: `make client-generate`.

wire.py and lanes.py, which wait and run things side by side, are written by hand in both; the
others differ in nothing but `async`, `await` and names.
"""

import subprocess
import sys
from pathlib import Path

import unasync

PACKAGE = Path(__file__).parent.parent / "src/coinswarm_memory"
CONFIG = Path(__file__).parents[3] / "pyproject.toml"
BY_HAND = frozenset({"__init__.py", "wire.py", "lanes.py"})
_NAMES = {
    f"Async{name}": name
    for name in (
        "Memory",
        "Agent",
        "Concepts",
        "Distances",
        "Pages",
        "Draw",
        "Writer",
        "Wire",
        "Caller",
        "Lanes",
        "Lock",
        "Ticker",
        "Background",
        "Replica",
        "BaseTransport",
    )
} | {
    "_async": "_sync",
    "AsyncExitStack": "ExitStack",
    "enter_async_context": "enter_context",
    "AsyncIterator": "Iterator",
}


def generate(target: Path) -> list[Path]:
    """Write the modules into `target` and return them."""
    sources = sorted(p for p in (PACKAGE / "_async").glob("*.py") if p.name not in BY_HAND)
    rule = unasync.Rule(f"{PACKAGE}/_async/", f"{target}/", _NAMES)
    unasync.unasync_files([str(source) for source in sources], [rule])
    written = [target / source.name for source in sources]
    files = ["--quiet", "--config", str(CONFIG), *map(str, written)]
    for command in (["check", "--select", "I", "--fix"], ["format"]):
        subprocess.run([sys.executable, "-m", "ruff", *command, *files], check=True)
    return written


if __name__ == "__main__":
    generate(PACKAGE / "_sync")
