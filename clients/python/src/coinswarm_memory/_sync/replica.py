"""A replica of one agent's memory in this process, kept current by the service's change feed."""

import logging
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, Unpack

from coinswarm_memory._sync.caller import Caller
from coinswarm_memory._sync.lanes import Background, aside
from coinswarm_memory._sync.questions import Questions
from coinswarm_memory._sync.wire import sleep
from coinswarm_memory.answers import Estimate, Progress, Recall
from coinswarm_memory.encode.vectors import ArrayLike
from coinswarm_memory.errors import CoinswarmError, ReplicaBehind
from coinswarm_memory.operations import feed
from coinswarm_memory.operations.fields import contract_fields
from coinswarm_memory.operations.filters import EstimateOptions, RecallOptions
from coinswarm_memory.problems import PositionLost
from coinswarm_memory.progress import ProgressOption, handler
from coinswarm_memory.replica.file import load
from coinswarm_memory.replica.scan import prepare
from coinswarm_memory.replica.state import ReplicaState, empty_table
from coinswarm_memory.view import View

logger = logging.getLogger("coinswarm_memory")

PAGE_ROWS = 5000
CHANGES = 500
FILL_TIMEOUT_S = 60.0
PAUSE_S = 0.01
"""The pause between two reads while memories change all the time."""
RETRY_PAUSE_S = 0.25
MIN_LAG_S = 0.1
MAX_WAIT_S = 1.0
"""Leaving the context waits for the read in progress."""
WAITS_PER_LAG = 2
"""How often the feed is asked within the allowed lag, so that silence can be trusted."""


class Replica:
    """An agent's memory in this process. Made by `agent.replica()`; use it as a context manager.

    What the replica cannot answer goes to the service: questions beyond `scope="own"`, with
    `vectors`, a `regime_policy`, `consistency="strong"`, questions as of a moment before
    experiences last retired, and everything while it is behind.
    """

    def __init__(
        self,
        caller: Caller,
        agent_id: str,
        view: View,
        *,
        max_lag_s: float,
        path: str | Path | None,
        when_behind: Literal["ask", "raise"],
        progress: ProgressOption,
    ) -> None:
        if max_lag_s < MIN_LAG_S:
            raise ValueError(f"max_lag_s must be at least {MIN_LAG_S}, got {max_lag_s}")
        self._caller = caller
        self._agent_id = agent_id
        self._view = view
        self._service = Questions(caller, agent_id, view)
        self._path = None if path is None else Path(path)
        self._when_behind = when_behind
        self._progress = handler(progress)
        self._state = ReplicaState(max_lag_s)
        self._trouble: type[CoinswarmError] | None = None
        self._open = ExitStack()

    @property
    def position(self) -> str:
        """How far it has followed the feed. Empty before it was filled."""
        return self._state.position

    @property
    def lag_s(self) -> float:
        """The lag: everything that was confirmed longer ago than this is in the replica."""
        return self._state.lag_s

    @property
    def is_current(self) -> bool:
        """Whether `lag_s` is at most `max_lag_s`, so that it answers by itself."""
        return self._state.is_current

    def __len__(self) -> int:
        return 0 if self._state.table is None else len(self._state.table)

    def __enter__(self) -> Self:
        """Fill it from its file and the service. Raises the service's problems.

        The first replica of a process loads the compiled scan, in 0.4 s; the first on a machine
        compiles it, in 5 s.
        """
        aside(prepare)
        if self._path is not None:
            loaded = load(self._path, self._agent_id)
            if loaded is not None:
                self._state.begin(*loaded)
        self._follow_to_the_end()
        self._caller.follow(self._agent_id, self)
        self._open.enter_context(Background(self._follow))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._caller.unfollow(self._agent_id, self)
        self._open.__exit__(kind, error, at)
        if self._path is not None:
            self.save(self._path)

    def save(self, path: str | Path) -> None:
        """Write it to a file, from which the next start takes no snapshot."""
        self._state.save(Path(path), self._agent_id)

    def recall(
        self,
        state: ArrayLike,
        *,
        k: int = 10,
        timeout_s: float | None = None,
        **options: Unpack[RecallOptions],
    ) -> Recall:
        """Return the `k` experiences most similar to `state`, nearest first, as the agent's does.

        The answer's `served_by` is `replica`, and its `lag_s` what may be missing. Raises
        ReplicaBehind if it is behind and `when_behind` is "raise".
        """
        question: dict[str, Any] = contract_fields(options) if options else {}
        as_of = self._view.bounded(question.get("as_of"))
        if as_of is not None:
            question["as_of"] = as_of
        answer = self._state.answer(state, k, question)
        if answer is not None:
            return answer
        if self._when_behind == "raise" and not self.is_current:
            raise ReplicaBehind(
                f"The replica of {self._agent_id} is {self.lag_s:.3g} s behind; "
                f"{self._state.max_lag_s:.3g} s are allowed."
            )
        return self._service.recall(state, k, options, timeout_s)

    def estimate(
        self,
        state: ArrayLike,
        *,
        k: int = 50,
        timeout_s: float | None = None,
        **options: Unpack[EstimateOptions],
    ) -> Estimate:
        """Return what came of each action in the `k` most similar moments.

        The service answers, always: `served_by` names its Redis node, never `replica`.
        """
        return self._service.estimate(state, k, options, timeout_s)

    def catch_up(self) -> None:
        """Apply everything that was confirmed before this call.

        When the service cannot be asked, the replica answers nothing until it can.
        """
        began_s = time.monotonic()
        try:
            while self._state.table is not None and self._state.current_at_s < began_s:
                self._read_changes(0.0)
        except CoinswarmError as error:
            logger.warning("replica of %s fell behind: %s", self._agent_id, error)
            self._state.doubt()

    def _follow(self) -> float:
        """Follow the feed for a while; return the pause until the next time."""
        try:
            self._follow_to_the_end()
            wait_s = min(self._state.max_lag_s / WAITS_PER_LAG, MAX_WAIT_S)
            is_news = self._read_changes(wait_s)
        except PositionLost:
            self._state.doubt()  # the next round starts over
            return 0.0
        except CoinswarmError as error:
            if type(error) is not self._trouble:  # an outage is one line, not four a second
                self._trouble = type(error)
                logger.warning("replica of %s cannot follow: %s", self._agent_id, error)
            return RETRY_PAUSE_S
        self._trouble = None
        return PAUSE_S if is_news else 0.0

    def _follow_to_the_end(self) -> None:
        """Fill it if it is empty or its position was lost, then read changes until it is
        current."""
        while True:
            try:
                if self._state.table is None:
                    self._fill()
                while not self._state.is_current:
                    self._read_changes(0.0)
            except PositionLost as error:
                logger.info("replica of %s starts over: %s", self._agent_id, error)
                self._state.lose()
                sleep(RETRY_PAUSE_S)
            else:
                return

    def _fill(self) -> None:
        began_s = time.monotonic()
        table, cursor, done = None, None, 0
        while True:
            operation = feed.snapshot(self._agent_id, cursor, PAGE_ROWS)
            page = self._caller.call(operation, FILL_TIMEOUT_S)
            if table is None:
                table, position = empty_table(page.dimension, page.vector_type), page.position
            table.apply(page.rows)
            done += sum(len(rows.records) for rows in page.rows)
            cursor = page.cursor
            if self._progress is not None:
                total = done if cursor is None else None
                self._progress(Progress(done, total, time.monotonic() - began_s))
            if cursor is None:
                self._state.begin(table, position)
                return

    def _read_changes(self, wait_s: float) -> bool:
        """Read what changed. Return whether anything did."""
        after, sent_at_s = self._state.position, time.monotonic()
        operation = feed.changes(self._agent_id, after, CHANGES, wait_s)
        changes = self._caller.call(operation, wait_s + self._caller.timeout_s)
        self._state.apply(after, changes, sent_at_s)
        return bool(changes.put or changes.deleted)
