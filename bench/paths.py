"""Where things are in this repository."""

from pathlib import Path

REPOSITORY = Path(__file__).parent.parent
LOADTEST = REPOSITORY / "loadtest"
RESULTS = LOADTEST / "results"
TARGETS = LOADTEST / "targets.toml"
DOCS = REPOSITORY / "docs"
BENCHMARKS = DOCS / "benchmarks"
PEERS_PYTHON = REPOSITORY / ".venv-compare/bin/python"
"""An interpreter that has the other databases' packages (`make compare` makes it)."""
