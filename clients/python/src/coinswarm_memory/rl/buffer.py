"""Batches to learn from, drawn by the service."""

import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from coinswarm_memory import Agent, Draw, Hit
from coinswarm_memory.encode.vectors import Float32Array
from coinswarm_memory.errors import InvalidRows
from coinswarm_memory.forks import renew_after_fork
from coinswarm_memory.operations.episodic import PrioritiesChanged
from coinswarm_memory.rl.limiter import RateLimiter, TooFewInserts
from coinswarm_memory.rl.trajectory import action_numbers

Strategy: TypeAlias = Literal["prioritized", "uniform", "fifo", "lifo"]
Floats: TypeAlias = npt.NDArray[np.float64]

_PAUSE_S = 0.05


@dataclass(frozen=True, slots=True)
class Batch:
    """n transitions: `states` and `next_states` of shape (n, dimension), the others of (n,).

    `rewards` are sums over `n_step` steps, `discounts` the factors of what `next_states` are
    worth: gamma to the number of steps, 0 after a terminal one. A next state that was not stored is
    the state of the episode's next step; without one it is zeros, and its discount is 0. `weights`
    are importance weights, scaled so that the largest of all experiences is 1.
    """

    draw: Draw
    states: Float32Array
    actions: list[str | None]
    rewards: Floats
    next_states: Float32Array
    terminals: npt.NDArray[np.bool_]
    discounts: Floats
    weights: Floats

    def __len__(self) -> int:
        return len(self.actions)

    def continuous_actions(self) -> Floats:
        """Return the numbers of continuous actions, shape (n, a). Raises InvalidRows."""
        found = [action_numbers(metadata) for metadata in self.draw.arrays.metadata]
        if any(numbers is None for numbers in found):
            raise InvalidRows("not every action is numbers: read `actions`")
        return np.stack([numbers for numbers in found if numbers is not None])

    def update_priorities(self, errors: npt.ArrayLike) -> list[PrioritiesChanged]:
        """Give the transitions new priorities: the sizes of their errors, shape (n,)."""
        return self.draw.update_priorities(np.abs(np.asarray(errors, np.float64)))


@dataclass(frozen=True, slots=True)
class Sequences:
    """n parts of episodes: `states` of shape (n, burn_in + length, dimension), others (n, T).

    The first `burn_in` steps warm a recurrent network up. `mask` is False before an episode's
    first step, after its last one, and where a step is not stored or still open.
    """

    draw: Draw
    burn_in: int
    states: Float32Array
    actions: list[list[str | None]]
    rewards: Floats
    terminals: npt.NDArray[np.bool_]
    mask: npt.NDArray[np.bool_]
    weights: Floats

    def update_priorities(self, errors: npt.ArrayLike) -> list[PrioritiesChanged]:
        """Give new priorities, shape (n,), to the steps that the parts were drawn by."""
        return self.draw.update_priorities(np.abs(np.asarray(errors, np.float64)))


class _Steps:
    """Transitions of several steps in the making: drawn ones, and what followed them."""

    def __init__(self, draw: Draw, n_step: int, gamma: float) -> None:
        arrays = draw.arrays
        self._draw = draw
        self._n_step = n_step
        self._gamma = gamma
        self._rewards, self._terminals = arrays.rewards.copy(), arrays.terminals.copy()
        self._next_states, self._has_next = arrays.next_states.copy(), arrays.has_next.copy()
        self._counts = np.ones(len(draw))

    @property
    def are_complete(self) -> bool:
        """Return whether each transition has a next state, or needs none."""
        return bool((self._has_next | self._terminals).all())

    def follow(self, place: int, following: Sequence[Hit]) -> None:
        """Add the steps that followed a drawn one, as long as none is missing or open."""
        expected = self._draw.arrays.steps[place] or 0
        for hit in following:
            expected += 1
            if self._terminals[place] or hit.step != expected:
                break
            if not self._has_next[place] and hit.state is not None:
                self._next_states[place], self._has_next[place] = hit.state, True
            if self._counts[place] == self._n_step or hit.reward is None:
                break
            self._rewards[place] += self._gamma ** self._counts[place] * hit.reward
            self._counts[place] += 1
            self._terminals[place] = hit.terminal
            self._has_next[place] = hit.next_state is not None
            self._next_states[place] = 0.0 if hit.next_state is None else hit.next_state

    def batch(self) -> Batch:
        """Return the transitions."""
        is_worth = self._has_next & ~self._terminals
        return Batch(
            draw=self._draw,
            states=self._draw.arrays.states,
            actions=self._draw.arrays.actions,
            rewards=self._rewards,
            next_states=self._next_states,
            terminals=self._terminals,
            discounts=np.where(is_worth, self._gamma**self._counts, 0.0),
            weights=self._draw.arrays.weights,
        )


class ReplayBuffer:
    """Draws from one agent's experiences. With `prefetch`, use it as a context manager or call
    `close`.

    `strategy`: `prioritized` (Schaul et al. 2016), `uniform`, `fifo` (each once, in the order of
    storing) or `lifo` (always the latest). `min_size` and `samples_per_insert` make `sample` wait
    for what the agents store, up to `timeout_s`. With `prefetch` that many batches are drawn ahead
    in threads, by the priorities of that moment.
    """

    def __init__(
        self,
        agent: Agent,
        *,
        strategy: Strategy = "prioritized",
        alpha: float = 0.6,
        beta: float = 0.4,
        gamma: float = 0.99,
        min_size: int = 1,
        samples_per_insert: float | None = None,
        slack: float | None = None,
        prefetch: int = 0,
        timeout_s: float = 60.0,
    ) -> None:
        if prefetch < 0 or not 0.0 <= gamma <= 1.0:
            raise InvalidRows(f"prefetch must be 0 or more, gamma 0 to 1: {prefetch}, {gamma}")
        self.beta = beta
        self._agent = agent
        self._strategy = strategy
        self._alpha = alpha
        self._gamma = gamma
        self._timeout_s = timeout_s
        self._limiter = RateLimiter(
            self.__len__, min_size=min_size, samples_per_insert=samples_per_insert, slack=slack
        )
        self._cursor: str | None = None
        self._prefetch = 0 if strategy == "fifo" else prefetch
        self._ahead: deque[tuple[tuple[int, float], Future[Draw]]] = deque()
        self._threads: ThreadPoolExecutor | None = None
        self._is_closed = False
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Draw ahead with threads of this process's own."""
        self._ahead = deque()
        self._threads = None

    def __len__(self) -> int:
        """Return how many experiences can be drawn now. Asks the service."""
        return self._agent.sample(1).arrays.population

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the threads that draw ahead. Nothing can be drawn any more."""
        self._is_closed = True
        if self._threads is not None:
            self._threads.shutdown(wait=True, cancel_futures=True)
        self._ahead.clear()

    def sample(self, batch: int = 256, *, n_step: int = 1) -> Batch:
        """Return `batch` transitions, fewer if there are no more.

        With `n_step` above 1, or without stored next states, what followed in the episode is read
        as well; an experience without `episode_id` and `step` is one step. Raises TooFewInserts if
        the agents have not stored enough within the buffer's time.
        """
        if n_step < 1:
            raise InvalidRows(f"n_step must be 1 or more: {n_step}")
        draw = self._drawn(batch)
        steps = _Steps(draw, n_step, self._gamma)
        ahead = n_step - 1 if steps.are_complete else n_step
        if ahead:
            for place, following in self._parts(draw, 1, ahead).items():
                steps.follow(place, following)
        return steps.batch()

    def sample_sequences(self, batch: int = 32, *, length: int, burn_in: int = 0) -> Sequences:
        """Return `batch` parts of episodes of `length` steps, with `burn_in` steps before them.

        A part begins at a step that was drawn. Raises TooFewInserts.
        """
        if length < 1 or burn_in < 0:
            raise InvalidRows(
                f"length must be 1 or more and burn_in 0 or more: {length}, {burn_in}"
            )
        draw = self._drawn(batch)
        arrays, width = draw.arrays, burn_in + length
        count = len(draw)
        states = np.zeros((count, width, arrays.states.shape[1]), np.float32)
        rewards, terminals = np.zeros((count, width)), np.zeros((count, width), np.bool_)
        mask = np.zeros((count, width), np.bool_)
        actions: list[list[str | None]] = [[None] * width for _ in range(count)]
        for place in range(count):
            states[place, burn_in] = arrays.states[place]
            rewards[place, burn_in] = arrays.rewards[place]
            terminals[place, burn_in] = arrays.terminals[place]
            actions[place][burn_in] = arrays.actions[place]
            mask[place, burn_in] = True
        for place, hits in self._parts(draw, -burn_in, length - 1).items():
            for hit in hits:
                at = (hit.step or 0) - (arrays.steps[place] or 0) + burn_in
                if hit.state is None or hit.reward is None:
                    continue
                states[place, at] = hit.state
                rewards[place, at] = hit.reward
                terminals[place, at] = hit.terminal
                actions[place][at] = hit.action
                mask[place, at] = True
        return Sequences(draw, burn_in, states, actions, rewards, terminals, mask, arrays.weights)

    def update_priorities(self, ids: Sequence[str], errors: npt.ArrayLike) -> PrioritiesChanged:
        """Give experiences new priorities: the sizes of their errors. Raises InvalidRows."""
        sizes = np.abs(np.asarray(errors, np.float64))
        if sizes.shape != (len(ids),) or not np.isfinite(sizes).all():
            raise InvalidRows(f"errors must be {len(ids)} finite numbers, got shape {sizes.shape}")
        return self._agent.update_priorities(dict(zip(ids, sizes.tolist(), strict=True)))

    def _parts(self, draw: Draw, first: int, last: int) -> dict[int, list[Hit]]:
        """Return the steps around the drawn ones, by position, for those with an episode."""
        arrays = draw.arrays
        places, parts = [], []
        for place, (episode, step) in enumerate(zip(arrays.episode_ids, arrays.steps, strict=True)):
            if episode is not None and step is not None:
                places.append(place)
                parts.append((episode, max(0, step + first), step + last))
        return dict(zip(places, self._agent.steps(parts), strict=True)) if parts else {}

    def _drawn(self, size: int) -> Draw:
        if self._is_closed:
            raise InvalidRows("this buffer is closed: draw within its `with` block")
        give_up_at = time.monotonic() + self._timeout_s
        while True:
            if self._limiter.may_draw(size):
                draw = self._next(size)
                if len(draw):
                    # What was drawn ahead counted what was there then.
                    population = None if self._prefetch else draw.arrays.population
                    self._limiter.drew(len(draw), population)
                    return draw
            if time.monotonic() > give_up_at:
                raise TooFewInserts(
                    f"{self._agent.id} has not stored enough within {self._timeout_s:.3g} s: let "
                    "the agents catch up, or lower min_size or raise samples_per_insert."
                )
            time.sleep(_PAUSE_S)

    def _next(self, size: int) -> Draw:
        if not self._prefetch:
            return self._ask(size)
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self._prefetch, "coinswarm-replay")
        asked = (size, self.beta)
        self._ahead = deque(one for one in self._ahead if one[0] == asked)
        while len(self._ahead) <= self._prefetch:
            self._ahead.append((asked, self._threads.submit(self._ask, size)))
        return self._ahead.popleft()[1].result()

    def _ask(self, size: int) -> Draw:
        options: dict[str, Any] = {"strategy": self._strategy}
        if self._strategy == "prioritized":
            options |= {"alpha": self._alpha, "beta": self.beta}
        if self._strategy == "fifo":
            options["cursor"] = self._cursor
        draw = self._agent.sample(size, **options)
        if self._strategy == "fifo" and draw.arrays.next_cursor is not None:
            self._cursor = draw.arrays.next_cursor
        return draw
