"""LangChain and LangGraph: the memory as tools of an agent that is a language model.

    model.bind_tools(memory_tools(memory.agent("agent_1"), encode=describe))

A model gives a moment in words or as named numbers; `encode` turns that into a state.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Literal, TypeAlias

from coinswarm_memory import Agent, Estimate, Hit, Recall
from coinswarm_memory.encode.times import TimeLike, shown
from coinswarm_memory.encode.vectors import ArrayLike
from coinswarm_memory.packages import missing

try:
    from langchain_core.tools import BaseTool, StructuredTool
except ImportError as error:
    raise missing("langchain_core", "langgraph") from error

Encoder: TypeAlias = Callable[[Mapping[str, float]], ArrayLike]
"""Turns the named numbers of a moment into a state, shape (dimension,)."""

Moment = Annotated[
    dict[str, float], "The market now: the indicators by name, such as {'rsi': 31.5}."
]
Product = Annotated[str | None, "Only this product, such as BTC-USD. Leave out for all."]
Regime = Annotated[str | None, "Only this market regime. Leave out for all."]
Count = Annotated[int, "How many similar moments to look at, 1 to 100."]

_MAX_MOMENTS = 100


def memory_tools(
    agent: Agent,
    *,
    encode: Encoder,
    clock: Callable[[], TimeLike] | None = None,
    scope: Literal["own", "others", "all"] = "own",
    may_remember: bool = True,
) -> list[BaseTool]:
    """Return the tools `recall_similar_moments`, `estimate_actions` and `remember`.

    `clock`: the moment of the model's decision, for backtests: every question carries it as
    `as_of`, and what is remembered happened then; without it, now. `may_remember` False leaves out
    the tool that writes. A problem of the service is raised to the framework, which may tell the
    model (ToolNode does).
    """
    tools = _Tools(agent, encode, clock, scope)
    made: list[Callable[..., str]] = [tools.recall_similar_moments, tools.estimate_actions]
    if may_remember:
        made.append(tools.remember)
    return [StructuredTool.from_function(tool) for tool in made]


class _Tools:
    """The tools. Their docstrings are what the model reads."""

    def __init__(
        self,
        agent: Agent,
        encode: Encoder,
        clock: Callable[[], TimeLike] | None,
        scope: Literal["own", "others", "all"],
    ) -> None:
        self._agent = agent
        self._encode = encode
        self._clock = clock
        self._scope = scope

    def recall_similar_moments(
        self, moment: Moment, product: Product = None, regime: Regime = None, count: Count = 5
    ) -> str:
        """Find the past moments most similar to this one, with what was done and what came of it.

        The reward is a fraction: 0.012 is a gain of 1.2 %. An open moment has no outcome yet.
        """
        found = self._agent.recall(
            self._encode(moment),
            k=_bounded(count),
            product=product,
            regime=regime,
            as_of=self._now(),
            scope=self._scope,
        )
        return readable_recall(found)

    def estimate_actions(
        self, moment: Moment, product: Product = None, regime: Regime = None, count: Count = 50
    ) -> str:
        """Say what came of each action in the past moments most similar to this one.

        Trust it little where the support is small or the novelty is near 1.
        """
        found = self._agent.estimate(
            self._encode(moment),
            k=_bounded(count),
            product=product,
            regime=regime,
            as_of=self._now(),
            scope=self._scope,
        )
        return readable_estimate(found)

    def remember(
        self,
        moment: Moment,
        *,
        action: Annotated[str, "What was done, in one word, such as buy, sell or hold."],
        reward: Annotated[
            float | None, "What came of it, a fraction. Leave out if unknown."
        ] = None,
        product: Annotated[str | None, "The product, such as BTC-USD."] = None,
        regime: Annotated[str | None, "The market regime."] = None,
        note: Annotated[str | None, "Why, in one sentence."] = None,
    ) -> str:
        """Store this moment, what was done and, if it is known, what came of it."""
        stored = self._agent.remember(
            self._encode(moment),
            action=action,
            reward=reward,
            product=product,
            regime=regime,
            timestamp=self._now(),
            outcome_at=None if reward is None else self._now(),
            metadata={"moment": dict(moment)} | ({} if note is None else {"note": note}),
        )
        return f"Stored as {stored.id}."

    def _now(self) -> TimeLike | None:
        return None if self._clock is None else self._clock()


def readable_recall(found: Recall) -> str:
    """Return an answer as lines that a model can read."""
    if not len(found):
        return "No similar moment is known."
    lines = [f"{len(found)} similar moments, most similar first:"]
    return "\n".join([*lines, *(f"- {_line(hit)}" for hit in found)])


def readable_estimate(found: Estimate) -> str:
    """Return an estimate as lines that a model can read."""
    if not len(found.actions):
        return "No similar moment with a known outcome: nothing can be said."
    lines = []
    for action in found.actions:
        wins = "" if action.win_rate is None else f", {action.win_rate:.0%} gained"
        spread = "" if action.stdev is None else f" (deviation {action.stdev:.4f})"
        lines.append(
            f"- {action.action or 'no action'}: expected reward {action.value:+.4f}{spread}{wins}, "
            f"support {action.effective_n:.1f} of {action.count} moments"
        )
    novelty = "unknown" if found.novelty is None else f"{found.novelty:.2f}"
    return "\n".join([f"Novelty {novelty} (0 well known, 1 never seen).", *lines])


def _line(hit: Hit) -> str:
    when = shown(hit.timestamp)
    outcome = "open" if hit.reward is None else f"reward {hit.reward:+.4f}"
    about = f"{hit.product}, {hit.regime}"
    note = hit.metadata.get("note")
    said = f", note: {note}" if isinstance(note, str) else ""
    done = f"{hit.action or 'no action'}, {outcome}"
    return f"{when}, {about}: {done}, distance {hit.distance:.4f}{said}"


def _bounded(count: int) -> int:
    return max(1, min(count, _MAX_MOMENTS))
