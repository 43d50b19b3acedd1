"""Schemathesis on a running service: what its OpenAPI document promises, tried from a seed."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

CHECKS = (
    *("no_fault_of_the_service", "status_code_conformance", "content_type_conformance"),
    *("response_headers_conformance", "response_schema_conformance", "use_after_free"),
    "unsupported_method",
)
"""Without its look at `Allow`: that of /v1/semantic/search names GET too, since `search` is an id
like any other, which it takes for a mistake."""

SPARE_S = 120.0


@dataclass(frozen=True, slots=True)
class OpenApiRun:
    """What a run did: requests sent, whether all kept the document's promises, and its report."""

    cases: int
    is_clean: bool
    report: str


def fuzz_openapi(url: str, *, seconds: int, seed: int, folder: Path) -> OpenApiRun:
    """Send what the document allows, and what it does not, for about this many seconds."""
    words = ("--checks", ",".join(CHECKS), "--seed", str(seed), "--max-time", str(seconds))
    done = subprocess.run(
        [
            str(Path(sys.executable).parent / "schemathesis"),
            *("run", f"{url}/openapi.json", *words, "--continue-on-failure", "--no-color"),
        ],
        cwd=folder,
        env=os.environ | {"SCHEMATHESIS_HOOKS": str(Path(__file__).with_name("checks.py"))},
        capture_output=True,
        text=True,
        timeout=seconds + SPARE_S,
        check=False,
    )
    report = done.stdout + done.stderr
    counted = re.search(r"([\d,]+) generated", report)
    cases = int(counted.group(1).replace(",", "")) if counted else 0
    return OpenApiRun(cases, done.returncode == 0, report)
