"""A question for an estimate, with everything that its parts need."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from operator import attrgetter
from typing import NamedTuple, TypeVar, cast

from app.memory.estimates.history import History
from app.memory.estimates.kernel import Kernel
from app.memory.estimates.past_values import PastKey
from app.model import EVERY_EXPERIENCE, EpisodicFilter, EpisodicQuestion

SameT = TypeVar("SameT", bound=Hashable)


class Terms(NamedTuple):
    """How a question is answered, apart from its filter. Its backcasts use the same terms."""

    kernel: Kernel
    stop_loss: float
    is_distinct: bool
    horizon: str | None
    is_scaled: bool


@dataclass(slots=True)
class Inquiry:
    """`histories`: of the agent that asks, and of those that it asks about (`pool`). Never
    modified.

    `timeless` is the question's filter without its moment, `past` the filter of its references and
    backcasts, `key` the name of its backcasts.
    """

    question: EpisodicQuestion
    terms: Terms
    scale: float | None
    histories: Mapping[str, History]
    pool: Sequence[tuple[str, History]]
    timeless: EpisodicFilter
    past: EpisodicFilter
    key: PastKey

    @property
    def as_of(self) -> float | None:
        """Return the moment of the question. None means now."""
        return self.question.filter.as_of

    @property
    def own(self) -> History | None:
        """Return the history of the agent that asks."""
        return self.histories.get(self.question.agent_id)

    @property
    def retirements(self) -> tuple[int, ...]:
        """Return at how many moments up to the question's each history lost memories."""
        as_of = self.as_of
        return tuple([history.retirements(as_of) for history in self.histories.values()])


def inquiry(
    question: EpisodicQuestion,
    terms: Terms,
    scale: float | None,
    histories: Mapping[str, History],
) -> Inquiry:
    """Return everything that an estimate needs."""
    wanted, asker = question.filter, question.agent_id
    timeless = timeless_filter(wanted)
    pool = [
        (name, history)
        for name, history in histories.items()
        if question.scope != "others" or name != asker
    ]
    exactness = question.exact, question.metric
    what = (timeless, question.regime_policy, question.top_k, exactness, terms)
    return Inquiry(
        question=question,
        terms=terms,
        scale=scale,
        histories=histories,
        pool=pool,
        timeless=timeless,
        past=_without_bounds(timeless, is_strict=question.regime_policy == "strict"),
        key=_same(PastKey(asker, question.scope, what)),
    )


_SAME: dict[Hashable, Hashable] = {}
SAME_KEPT = 10_000

_TIMES = {"as_of", "closed"}
_conditions = attrgetter(*(f.name for f in fields(EpisodicFilter) if f.name not in _TIMES))


def timeless_filter(wanted: EpisodicFilter) -> EpisodicFilter:
    """Return the filter without its moment: the same object for all moments."""
    if wanted is EVERY_EXPERIENCE:
        return wanted
    conditions = _conditions(wanted)
    found = _SAME.get(conditions)
    if found is None:
        found = _same(replace(wanted, as_of=None, closed=False))
        _SAME[conditions] = found
    assert isinstance(found, EpisodicFilter)
    return found


def _same(value: SameT) -> SameT:
    """Return one shared object for all equal ones. Lookups by it, many within an estimate, then
    need not compare its many fields."""
    if len(_SAME) > SAME_KEPT:
        _SAME.clear()
    return cast("SameT", _SAME.setdefault(value, value))


def has_moving_bounds(wanted: EpisodicFilter) -> bool:
    """Return whether there are conditions besides names, which differ from question to question."""
    return not (
        wanted.since is None
        and wanted.until is None
        and wanted.min_reward is None
        and wanted.max_reward is None
        and wanted.min_quality is None
        and wanted.recorded_by is None
    )


def _without_bounds(timeless: EpisodicFilter, *, is_strict: bool) -> EpisodicFilter:
    """Return the filter without bounds on time and reward.

    If the policy lets other regimes answer, all regimes match.
    """
    is_plain = not has_moving_bounds(timeless) and (is_strict or not timeless.regime)
    if is_plain:
        return timeless
    return EpisodicFilter(
        product_id=timeless.product_id,
        regime=timeless.regime if is_strict else (),
        action=timeless.action,
        terminal=timeless.terminal,
    )
