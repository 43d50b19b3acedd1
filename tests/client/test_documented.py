"""Every example of the pages on the client's adapters runs as it is printed."""

import shlex
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from app.embedded import EmbeddedNode
from coinswarm_memory import Memory, MetricNotFound
from coinswarm_memory.command import main
from tests.kit.documented import run_python, shell_lines
from tests.kit.service_process import REPOSITORY, ServiceProcess, service_process

GUIDE = REPOSITORY / "docs/guide"
DIMENSION = 256
"""The examples are printed for the service's own default."""


@pytest.fixture(scope="module")
def service(empty_node: EmbeddedNode) -> Iterator[ServiceProcess]:
    with service_process(redis_url=empty_node.url, dimension=DIMENSION) as running:
        yield running


@pytest.fixture(scope="module")
def memory(service: ServiceProcess) -> Iterator[Memory]:
    with Memory(service.url, timeout_s=20) as client:
        yield client


def test_command(
    service: ServiceProcess,
    memory: Memory,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    states = np.random.default_rng(0).normal(size=(20, DIMENSION)).astype(np.float32)
    memory.agent("agent_1").remember_many(
        {"state": states, "id": [f"moment_{i}" for i in range(20)], "reward": [0.01] * 20},
        product="BTC-USD",
        action="buy",
        timestamp="2022-01-15",
        outcome_at="2022-01-20",
    )
    np.save(tmp_path / "state.npy", states[0])
    monkeypatch.setenv("COINSWARM_URL", service.url)
    for line in shell_lines(GUIDE / "command.md"):
        words, _, file = line.partition(" > ")
        monkeypatch.setattr("sys.argv", shlex.split(words))
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code, (line, ended.value.code)
        if file:
            Path(file).write_text(capsys.readouterr().out)
    assert (tmp_path / "agent_1.parquet").exists()
    run_python(GUIDE / "command.md", service.url)
    assert len(list(memory.agent("agent_2").query())) == 20


def test_backtests(service: ServiceProcess, memory: Memory) -> None:
    """All but backtesting.py, whose licence keeps it out of what is installed here."""
    left = run_python(GUIDE / "backtests.md", service.url, skipping="from backtesting import")
    stored = list(memory.agent("backtest_1").query())
    assert len(stored) == 340 - DIMENSION
    assert sum(one.reward is None for one in stored) == 5, "the last are open still"
    assert 0 < left["position"].sum() < 340 - DIMENSION


def test_gymnasium(service: ServiceProcess, memory: Memory) -> None:
    left = run_python(GUIDE / "gymnasium.md", service.url)
    assert left["observation"]["neighbours"].shape == (4, 5)
    assert 0.0 <= left["observation"]["novelty"][0] <= 1.0
    stored = list(memory.agent("cartpole").query(terminal=True))
    assert len(stored) == 5


def test_language_models(
    service: ServiceProcess, memory: Memory, capsys: pytest.CaptureFixture[str]
) -> None:
    memory.agent("model_1").delete_matching(dry_run=False)
    left = run_python(GUIDE / "language-models.md", service.url, skipping="asyncio.run(")
    called = left["answer"]["messages"][2]
    assert called.content == "No similar moment with a known outcome: nothing can be said."
    assert "I stay out" in capsys.readouterr().out


def test_mcp(service: ServiceProcess, memory: Memory) -> None:
    memory.agent("model_1").delete_matching(dry_run=False)
    memory.agent("model_1").remember(np.ones(DIMENSION), reward=0.5)
    left = run_python(GUIDE / "language-models.md", service.url, skipping="langgraph")
    assert left["answer"]["total"] == 1
    assert left["answer"]["memories"][0]["reward"] == 0.5


def test_replay(service: ServiceProcess, memory: Memory) -> None:
    left = run_python(GUIDE / "replay.md", service.url)
    assert left["batch"].states.shape == (64, DIMENSION)
    assert left["parts"].states.shape == (8, 6, DIMENSION)
    assert len(list(memory.agent("actor_1").query())) == 200


def test_learned_distance(service: ServiceProcess, memory: Memory) -> None:
    """An agent whose outcomes depend on one number of 256, in 2020 and a while after."""
    me, day = memory.agent("agent_1"), 86_400.0
    me.delete_matching(dry_run=False)
    starts = 1_577_836_800.0 + day * np.arange(480)
    random = np.random.default_rng(1)
    states = random.normal(size=(480, DIMENSION)).astype(np.float32)
    rewards = states[:, 3] + 0.3 * random.normal(size=480)
    me.remember_many(
        states, action="buy", reward=rewards, timestamp=starts, outcome_at=starts + day
    )
    left = run_python(GUIDE / "learned-distance.md", service.url, state=states[0])
    with left["memory"]:
        assert left["learned"].memories == 366
        assert left["learned"].features[0].index == 3
        assert left["found"].metric == left["learned"].id
        assert left["proof"].result.verdict == "helps"
        with pytest.raises(MetricNotFound):
            memory.distances.take_back(left["learned"].id)
    me.delete_matching(dry_run=False)
