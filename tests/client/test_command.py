"""The `coinswarm` command as its users run it."""

import io
import itertools
import json
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from coinswarm_memory import Memory
from coinswarm_memory.command import main
from coinswarm_memory.packages import WHERE
from tests.client.conftest import states
from tests.kit.service_process import REPOSITORY, ServiceProcess

AGENT = "trader [red]"


@pytest.fixture(scope="module", autouse=True)
def _lives(memory: Memory) -> None:
    memory.agent(AGENT).remember_many(
        {
            "state": states(30),
            "id": [f"m{i}" for i in range(30)],
            "action": ["buy", "sell"] * 15,
            "reward": [0.01, -0.02] * 15,
            "timestamp": np.arange(30) * 86_400.0 + 1.6e9,
            "outcome_at": np.arange(30) * 86_400.0 + 1.6e9 + 3600,
            "next_state": states(30, seed=1),
        },
        product="BTC[/red]\u202e",
        metadata={"why": "\x1b[2J"},
    )


class Terminal:
    """Runs the command in this process and gives back what it wrote."""

    def __init__(
        self, url: str, patch: pytest.MonkeyPatch, printed: pytest.CaptureFixture[str]
    ) -> None:
        self._patch = patch
        self._printed = printed
        patch.setenv("COINSWARM_URL", url)
        patch.setenv("COLUMNS", "160")

    def run(self, *arguments: str, given: str = "") -> str:
        with pytest.raises(SystemExit) as ended:
            self._main(arguments, given)
        said = self._printed.readouterr()
        assert not ended.value.code, (ended.value.code, said.err)
        return said.out

    def fault(self, *arguments: str) -> str:
        """The one sentence with which it ends."""
        with pytest.raises(SystemExit) as ended:
            self._main(arguments, "")
        assert isinstance(ended.value.code, str)
        assert not self._printed.readouterr().out
        return ended.value.code

    def _main(self, arguments: tuple[str, ...], given: str) -> None:
        self._patch.setattr("sys.argv", ["coinswarm", *arguments])
        self._patch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(given.encode())))
        main()


@pytest.fixture
def terminal(
    service: ServiceProcess, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Terminal:
    return Terminal(service.url, monkeypatch, capsys)


def test_a_recall_is_a_table_or_json(terminal: Terminal, tmp_path: Path) -> None:
    np.save(tmp_path / "state.npy", states(1)[0])
    asked = ("recall", AGENT, "--state", str(tmp_path / "state.npy"), "-k", "3")
    table = terminal.run(*asked)
    assert "m0" in table
    assert r"BTC[/red]\u202e" in table, "a name is no markup and turns no text round"
    assert "3 found, exact" in table
    found = json.loads(terminal.run(*asked, "--json"))
    assert found["memories"][0]["id"] == "m0"
    again = terminal.run(
        "recall", AGENT, "--state", "-", "--json", given=str(states(1)[0].tolist())
    )
    assert len(json.loads(again)["memories"]) == 10


def test_an_estimate_is_a_table_or_json(terminal: Terminal) -> None:
    table = terminal.run("estimate", AGENT, "--like", "m3", "--action", "buy")
    assert "buy" in table
    assert "+0.01" in table
    assert "sell" not in table
    asked = ("estimate", AGENT, "--like", "m1", "--as-of", "2020-09-15T00:00:00Z", "--json")
    found = json.loads(terminal.run(*asked))
    assert sum(action["count"] for action in found["actions"]) == 2, "no later outcome is known"


def test_an_export_is_what_was_stored(terminal: Terminal, memory: Memory, tmp_path: Path) -> None:
    lines = terminal.run("export", AGENT).splitlines()
    assert [json.loads(line)["id"] for line in lines] == [f"m{i}" for i in range(30)]
    other = memory.agent("again")
    assert other.remember_many(json.loads(line) for line in lines).created == 30
    for name in ("m0", "m29"):
        first, second = memory.agent(AGENT).get(name), other.get(name)
        for field in ("state_vector", "next_state_vector", "reward", "outcome_at", "metadata"):
            assert getattr(first, field) == getattr(second, field)
    terminal.run("export", AGENT, "--to", str(tmp_path / "m.parquet"), "--action", "sell")
    frame = pd.read_parquet(tmp_path / "m.parquet")
    assert list(frame["id"]) == [f"m{i}" for i in range(1, 30, 2)]
    assert np.array_equal(np.stack(frame["state"]), states(30)[1::2])
    assert str(frame["timestamp"].dt.tz) == "UTC"


@pytest.mark.parametrize("name", ["some.parquet", "some.ndjson"])
def test_an_export_that_fails_leaves_no_file(terminal: Terminal, tmp_path: Path, name: str) -> None:
    refused = terminal.fault("export", AGENT, "--to", str(tmp_path / name), "--action", "x" * 129)
    assert refused == "action.0: may have at most 128 characters."
    assert not list(tmp_path.iterdir())


def test_the_tail_shows_what_changes(terminal: Terminal, memory: Memory) -> None:
    me = memory.agent("watched")
    me.remember(states(1)[0], id="before", reward=1.0)

    is_over = threading.Event()

    def live() -> None:
        for number in itertools.count():
            me.remember(states(1)[0], id=f"n{number}", product="BTC-USD", reward=0.5)
            if is_over.wait(0.05):
                return

    storing = threading.Thread(target=live, daemon=True)
    storing.start()
    found = [
        json.loads(line)
        for line in terminal.run("tail", "watched", "-n", "2", "--json").splitlines()
    ]
    assert all(one["id"].startswith("n") for one in found)
    (line,) = terminal.run("tail", "watched", "-n", "1").splitlines()
    assert "BTC-USD" in line
    assert "+0.5" in line
    is_over.set()
    storing.join()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["recall", AGENT], "--state FILE or --like ID"),
        (["recall", AGENT, "--like", "nobody"], "memory"),
        (["estimate", AGENT, "--like", "m1", "--metric", "a:0"], "there is no distance a:0"),
        (["recall", AGENT, "--state", "/nowhere"], "/nowhere"),
        (["recall", AGENT, "--like", "m1", "--url", "nonsense"], "must begin with http://"),
        (["recall", AGENT, "--like", "m1", "--url", "http://[::"], "must begin with http://"),
        (["recall", AGENT, "--state", "-"], "state must hold 8 numbers, got 0"),
        (
            ["recall", AGENT, "--like", "m1", "--url", "http://127.0.0.1:1", "--timeout", "0.2"],
            "is it running?",
        ),
    ],
)
def test_a_fault_is_one_line(terminal: Terminal, arguments: list[str], said: str) -> None:
    sentence = terminal.fault(*arguments)
    assert said in sentence
    assert len(sentence.splitlines()) == 1


def test_without_its_packages_it_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['typer'] = None; from coinswarm_memory.command import main; main()"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(REPOSITORY / "clients/python/src")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1
    said = f"This needs typer: pip install './clients/python[command]' {WHERE}"
    assert ended.stderr.rstrip() == said
