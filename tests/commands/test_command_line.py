"""Commands find their data, with and without a running service, and explain themselves."""

import os
import re
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from app.commands.command_line import COMMANDS, run
from app.commands.list_settings import OPERATED, SECTIONS, settings_markdown, settings_table
from app.commands.output import counted, printable
from app.settings import Settings
from app.transfer.files import read_rows
from tests.commands.app_process import run_app, run_app_process
from tests.conftest import DIMENSION
from tests.kit.service_process import service_process
from tests.transfer.filled import experience

REPOSITORY = Path(__file__).parents[2]


def test_settings_lists_every_setting_with_its_default() -> None:
    status, said = run_app_process("settings", dimension="wrong", redis_url="wrong")
    assert status == 0
    for name, field in Settings.model_fields.items():
        (line,) = [line for line in said.splitlines() if line.startswith(f"MEMORY_{name.upper()} ")]
        assert (field.description or "").split()[0] in line
    assert re.search(r"^MEMORY_DIMENSION +256 ", said, re.MULTILINE)
    assert "(unset)" in said


def test_settings_table_fits_the_terminal() -> None:
    narrow, wide = settings_table(120), settings_table(400)
    names = [line.split()[0] for line in wide.splitlines() if line.startswith("MEMORY_")]
    assert sorted(names) == sorted(f"MEMORY_{name}".upper() for name in Settings.model_fields)
    assert " ".join(narrow.split()) != ""
    assert max(map(len, narrow.splitlines())) <= 120 or "/" in narrow


def test_the_page_on_settings_has_the_tables_that_the_command_prints() -> None:
    page = (REPOSITORY / "docs" / "reference" / "settings.md").read_text()
    assert page.endswith(settings_markdown())


def test_every_section_and_every_setting_of_operators_is_one() -> None:
    assert Settings.model_fields.keys() >= OPERATED | SECTIONS.keys()


def test_each_setting_is_described_in_whole_sentences() -> None:
    for field in Settings.model_fields.values():
        assert re.fullmatch(r"[A-Za-z].*\.", field.description or "")


@pytest.mark.parametrize("command", [command.name for command in COMMANDS])
def test_each_command_explains_itself(command: str) -> None:
    status, said = run_app(command, "--help")
    assert status == 0
    assert f"usage: ./memory {command}" in said


def test_wrong_words_and_settings_are_a_sentence() -> None:
    assert run_app("exprot")[0] == 2
    status, said = run_app_process("export", "x.ndjson", dimensions=3)
    assert (status, said.count("\n")) == (1, 1)
    assert said.startswith("Unknown setting MEMORY_DIMENSIONS")
    status, said = run_app("import", "x.ndjson", redis_url="redis://127.0.0.1:1")
    assert (status, said.count("\n")) == (1, 1)
    assert "Redis cannot be reached" in said
    for wrong in ({"port": "x"}, {"redis_url": "http://x"}):
        status, said = run_app("check", **wrong)
        assert (status, said.count("\n")) == (1, 1)
        assert "Input" not in said
        assert "Value error" not in said


def test_a_result_that_nobody_can_read_ends_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    with Path("/dev/full").open("w") as full, redirect_stdout(full):
        assert run(["settings"]) == 1
    assert capsys.readouterr().err == "The result cannot be written: No space left on device.\n"
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as left, redirect_stdout(left), pytest.raises(SystemExit) as end:
        run(["settings"])
    assert (end.value.code, capsys.readouterr().err) == (1, "")


def test_embedded_redis_through_the_service_and_without_it(tmp_path: Path) -> None:
    """Stored over HTTP, exported while the service runs, imported into a folder of its own."""
    settings: dict[str, Any] = {"data_dir": tmp_path / "data", "dimension": DIMENSION}
    ids = [f"m{i}" for i in range(5)]
    with service_process(**settings) as service, service.client() as client:
        batch = [experience("a", i) | {"id": ids[i]} for i in range(5)]
        assert client.post("/v1/episodic/batch", json={"memories": batch}).json()["created"] == 5
        status, said = run_app("export", tmp_path / "running.ndjson", **settings)
        assert status == 0, said
        status, said = run_app("check", **settings)
        assert status == 0, said
        assert client.get("/readyz").status_code == 200
    status, said = run_app("export", tmp_path / "stopped.ndjson", **settings)
    assert status == 0, said
    for name in ("running", "stopped"):
        assert [row.memory_id for row in read_rows(tmp_path / f"{name}.ndjson")] == ids
    other = settings | {"data_dir": tmp_path / "other"}
    status, said = run_app("import", tmp_path / "stopped.ndjson", **other)
    assert status == 0, said
    with service_process(**other) as service, service.client() as client:
        question = {"agent_id": "a", "state_vector": batch[3]["state_vector"], "top_k": 5}
        found = client.post("/v1/episodic/search", json=question).json()
        assert sorted(memory["id"] for memory in found["memories"]) == ids
        assert found["memories"][0]["id"] == "m3"


def test_long_data_folder_is_reached_as_well(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"data_dir": tmp_path / ("x" * 120), "dimension": DIMENSION}
    with service_process(**settings):
        status, said = run_app("check", **settings)
        assert status == 0, said


def test_nothing_that_steers_a_terminal_is_printed() -> None:
    hostile = "a\x1b[31mred\x07\x9b2J\u202e"
    assert printable(f"{hostile}\n\tb") == "a\\x1b[31mred\\x07\\x9b2J\\u202e\n\tb"
    assert printable("BTC-USD é") == "BTC-USD é"
    assert [counted(n, "memory") for n in (0, 1, 2000)] == [
        "0 memories",
        "1 memory",
        "2,000 memories",
    ]


def test_texts_call_commands_in_one_way() -> None:
    """`./memory` works on a fresh clone, in the image, and beside `make serve`."""
    texts = [REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "compose.yaml")]
    for folder, suffix in (("app", "py"), ("app", "js"), ("docs", "md"), ("redis", "md")):
        texts += (REPOSITORY / folder).rglob(f"*.{suffix}")
    naming = {REPOSITORY / "app" / name for name in ("__main__.py", "commands/__init__.py")}
    naming |= {REPOSITORY / "app/commands/command_line.py"}
    naming |= {REPOSITORY / "docs/reference/commands.md"}
    naming |= set((REPOSITORY / "docs/decisions").glob("*.md"))
    others = [
        str(text.relative_to(REPOSITORY))
        for text in {*texts} - naming
        if re.search(r"python -m app\b|coinswarm-memory\[", text.read_text("utf-8"))
    ]
    assert others == []
