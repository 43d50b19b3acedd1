"""DQN learns CartPole out of an agent's memory and out of Stable-Baselines3's own buffer.

`make try-cartpole`: the same algorithm, settings and seeds, by three buffers: Stable-Baselines3's,
the memory drawn uniformly (`alpha=0`), and the memory drawn by priority. Uniform draws must learn
as Stable-Baselines3's do, within the spread of seeds; priorities are reported, not judged. Writes
docs/benchmarks/cartpole.md with its picture. With `--runs FILE` finished runs are kept in a file,
so that an interrupted study continues where it ended. Needs the environment of `make rl-tools`.
"""

import argparse
import json
import os
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from bench.machine import describe_machine, now_line
from bench.paths import BENCHMARKS
from bench.plots import Band, Line, band_plot
from bench.service import running_service
from coinswarm_memory import Memory

DIMENSION = 8
SEEDS = (1, 2, 3, 4, 5)
STEPS = 20_000
GRID = 1000
LATEST = 20
"""The curve at a step is the mean return of this many latest episodes."""
FINAL_EPISODES = 20
SETTINGS: dict[str, Any] = {
    "learning_rate": 2.3e-3,
    "batch_size": 64,
    "learning_starts": 1000,
    "target_update_interval": 10,
    "train_freq": 256,
    "gradient_steps": 64,
    "exploration_fraction": 0.16,
    "exploration_final_eps": 0.04,
    "gamma": 0.99,
    "policy_kwargs": {"net_arch": [256, 256]},
}
"""Those of RL Baselines3 Zoo for DQN on CartPole-v1, with half the gradient steps."""
OWN, UNIFORM, BY_PRIORITY = "Stable-Baselines3's", "memory, uniform", "memory, by priority"
BUFFERS = (OWN, UNIFORM, BY_PRIORITY)


@dataclass(frozen=True)
class Run:
    """One training: the curve on the grid, and the return of the greedy policy at its end."""

    name: str
    seed: int
    steps: int
    curve: list[float]
    final: float
    took_s: float
    load: float

    @property
    def mean(self) -> float:
        """Return the mean of the curve."""
        return float(np.mean(self.curve))


def main() -> int:
    """Train, print and write the report; exit status 1 if the curves part."""
    parser = argparse.ArgumentParser(prog="python -m bench.studies.cartpole")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--report", type=Path, default=BENCHMARKS / "cartpole.md")
    parser.add_argument("--runs", type=Path, help="a file that keeps finished runs")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", module="torch|gymnasium|stable_baselines3")
    kept = _kept(options.runs, options.steps)
    for run in _missing(kept, options.seeds, options.steps):
        kept[run.name, run.seed] = run
        if options.runs is not None:
            with options.runs.open("a") as file:
                file.write(json.dumps(asdict(run)) + "\n")
        print(
            f"{run.name}, seed {run.seed}: mean return {run.mean:.1f}, at the end "
            f"{run.final:.1f}, {run.took_s:.0f} s",
            flush=True,
        )
    runs = {name: [kept[name, seed] for seed in options.seeds] for name in BUFFERS}
    loads = [run.load for some in runs.values() for run in some]
    circumstances = (
        f"{now_line()}; {describe_machine().sentence}; load average after a run "
        f"{min(loads):.1f} to {max(loads):.1f}"
    )
    options.report.write_text(_report(runs, circumstances, options.steps))
    options.report.with_suffix(".png").write_bytes(_picture(runs))
    print(options.report.read_text())
    return 0 if _is_alike(runs[OWN], runs[UNIFORM]) else 1


def _kept(file: Path | None, steps: int) -> dict[tuple[str, int], Run]:
    """Return the finished runs of this length that a file has, by buffer and seed."""
    if file is None or not file.exists():
        return {}
    runs = [Run(**json.loads(line)) for line in file.read_text().splitlines()]
    return {(run.name, run.seed): run for run in runs if run.steps == steps}


def _missing(kept: dict[tuple[str, int], Run], seeds: Sequence[int], steps: int) -> Iterator[Run]:
    """Train what is not kept yet."""
    wanted = [(name, seed) for seed in seeds for name in BUFFERS if (name, seed) not in kept]
    if not wanted:
        return
    with (
        running_service({"MEMORY_DIMENSION": str(DIMENSION)}) as service,
        Memory(service.url, timeout_s=60, dimension=DIMENSION) as memory,
    ):
        for name, seed in wanted:
            yield _train(name, seed, steps, memory)


def _train(name: str, seed: int, steps: int, memory: Memory) -> Run:
    import torch  # noqa: PLC0415 - these are in an environment of their own
    from stable_baselines3 import DQN  # noqa: PLC0415
    from stable_baselines3.common.evaluation import evaluate_policy  # noqa: PLC0415
    from stable_baselines3.common.monitor import Monitor  # noqa: PLC0415

    from coinswarm_memory import sb3  # noqa: PLC0415

    torch.set_num_threads(1)
    own: dict[str, Any] = {"buffer_size": 100_000}
    if name != OWN:
        agent = memory.agent(f"{'uniform' if name == UNIFORM else 'priority'}_{seed}")
        alpha = 0.0 if name == UNIFORM else 0.6
        own = {
            "replay_buffer_class": sb3.PrioritizedMemoryBuffer,
            "replay_buffer_kwargs": {"agent": agent, "dimension": DIMENSION, "alpha": alpha},
        }
    started = time.perf_counter()
    model = DQN("MlpPolicy", "CartPole-v1", seed=seed, device="cpu", **SETTINGS, **own)
    model.learn(steps, callback=sb3.PriorityCallback() if name == BY_PRIORITY else None)
    took_s = time.perf_counter() - started
    monitor: Any = model.get_env().envs[0]
    assert isinstance(monitor, Monitor)
    returns, ends = monitor.get_episode_rewards(), np.cumsum(monitor.get_episode_lengths())
    final, _ = evaluate_policy(model, model.get_env(), n_eval_episodes=FINAL_EPISODES)
    curve = _curve(returns, ends, steps)
    return Run(name, seed, steps, curve, float(final), took_s, os.getloadavg()[0])


def _curve(returns: Sequence[float], ends: NDArray[np.int_], steps: int) -> list[float]:
    """Return the mean return of the latest episodes at each step of the grid."""
    known = [int(np.searchsorted(ends, at, "right")) for at in range(GRID, steps + 1, GRID)]
    return [float(np.mean(returns[max(0, n - LATEST) : max(n, 1)])) for n in known]


def _is_alike(one: Sequence[Run], other: Sequence[Run]) -> bool:
    """Return whether 0 is in the 95 % interval of the difference of their mean curves' means
    (Welch)."""
    low, high = _difference(one, other)
    return low <= 0.0 <= high


def _difference(one: Sequence[Run], other: Sequence[Run]) -> tuple[float, float]:
    means = [[run.mean for run in runs] for runs in (other, one)]
    low, high = stats.ttest_ind(*means, equal_var=False).confidence_interval(0.95)
    return float(low), float(high)


def _report(runs: dict[str, list[Run]], circumstances: str, steps: int) -> str:
    rows = [
        f"| {name} | {_spread([r.mean for r in some])} | "
        f"{_spread([r.curve[-1] for r in some])} | {_spread([r.final for r in some])} | "
        f"{np.mean([r.took_s for r in some]):.0f} s |"
        for name, some in runs.items()
    ]
    said = []
    for name in (UNIFORM, BY_PRIORITY):
        low, high = _difference(runs[OWN], runs[name])
        verdict = "within" if low <= 0 <= high else "outside"
        said.append(
            f"- {name[0].upper()}{name[1:]}, less {OWN}: {low:+.0f} to {high:+.0f} of mean return "
            f"(95 %, Welch): {verdict} the spread of seeds."
        )
    return f"""# CartPole by DQN, out of the memory

DQN of Stable-Baselines3 learns CartPole-v1 for {steps:,} steps with {len(runs[OWN])} seeds and
three replay buffers: its own, an agent's memory drawn uniformly (`alpha=0`), and the same memory
drawn by priority (`alpha=0.6`, `PriorityCallback`). All else is the same: the settings of RL
Baselines3 Zoo with half the gradient steps. `make try-cartpole` makes this page.

![Mean return of the latest {LATEST} episodes](cartpole.png)

Mean and standard deviation over the seeds:

| buffer | return, mean of the curve | at its end | greedy policy at the end | a run takes |
| --- | ---: | ---: | ---: | ---: |
{chr(10).join(rows)}

{chr(10).join(said)}

The memory adds a request for each draw of {SETTINGS["batch_size"]}, and one for each rating.
DQN's curves differ widely from seed to seed: {len(runs[OWN])} seeds show large differences only.

{circumstances}.
"""


def _spread(values: Sequence[float]) -> str:
    return f"{np.mean(values):.0f} ± {np.std(values, ddof=1):.0f}"


def _picture(runs: dict[str, list[Run]]) -> bytes:
    bands = []
    for name, some in runs.items():
        curves = np.array([run.curve for run in some])
        x = [GRID * (i + 1) for i in range(curves.shape[1])]
        low, high = curves.min(axis=0).tolist(), curves.max(axis=0).tolist()
        bands.append(Band(Line(name, x, curves.mean(axis=0).tolist()), low, high))
    title = f"DQN on CartPole-v1: mean of {len(runs[OWN])} seeds, and the least and the most"
    return band_plot(title, bands, x="steps", y=f"return, mean of the latest {LATEST} episodes")


if __name__ == "__main__":
    sys.exit(main())
