"""Chooses the memories that count and sums up each action's, in one compiled call.

The statistics are those of action_values.py, for a question about one agent whose candidates a copy
in the process has found: numba is loaded then. Numba compiles this at import, for some seconds, and
keeps the result: import it in the background, never within a question (summary.py).
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import types

from app.memory.estimates.action_values import ROUNDING, WEIGHTLESS
from app.memory.estimates.evidence import CROSS_PRODUCT
from app.memory.estimates.history import ABSENT, CODES, FLOATS
from app.memory.estimates.magnitude import LARGEST, SAFE_EXPONENTS
from app.resident.kernel import compiled, inner, readonly

_LEAST_SAFE, _MOST_SAFE = SAFE_EXPONENTS
_ROOT_2 = math.sqrt(2.0)
_START, _END, _REWARD = FLOATS.index("start"), FLOATS.index("end"), FLOATS.index("reward")
_SCALE, _RECORDED = FLOATS.index("scale"), FLOATS.index("recorded")
_PRODUCT, _ACTION = CODES.index("product"), CODES.index("action")

COLUMNS = (
    "action",
    "count",
    "value",
    "stdev",
    "q05",
    "q50",
    "q95",
    "win_rate",
    "loss_probability",
    "effective_n",
    "independent_n",
    "nearest_distance",
)
"""Of the statistics: `action` is a code, `stdev` NaN for a single memory."""


@inner
def _total(values: Any, first: int, last: int) -> float:
    """Return a sum that is rounded once, but for what two floats together lose."""
    total, lost = 0.0, 0.0
    for i in range(first, last):
        value = values[i]
        wider = total + value
        part = wider - total
        lost += (total - (wider - part)) + (value - part)
        total = wider
    return total + lost


@inner
def _weigh(distances: Any, count: int, is_rbf: bool, width: float, weights: Any) -> None:
    nearest = np.inf
    for i in range(count):
        nearest = min(nearest, distances[i])
    for i in range(count):
        if is_rbf:
            weights[i] = math.exp((nearest - distances[i]) / (width * width))
        else:
            weights[i] = 1.0 / (distances[i] + width)


@inner
def _effective(weights: Any, count: int, scratch: Any) -> float:
    for i in range(count):
        scratch[i] = weights[i] * weights[i]
    total = _total(weights, 0, count)
    return min(max(total * total / _total(scratch, 0, count), 1.0), float(count))


@inner
def _independent(
    weights: Any, count: int, product: Any, start: Any, end: Any, kish: float
) -> float:
    largest = 0.0
    for i in range(count):
        largest = max(largest, weights[i])
    whole, squares, of_pairs = 0.0, 0.0, 0.0
    for i in range(count):
        weight, length, of_others = weights[i] / largest, end[i] - start[i], 0.0
        for j in range(i):
            common = min(end[i], end[j]) - max(start[i], start[j])
            if common > 0.0:
                shared = common / max(length, end[j] - start[j])
                part = shared if product[i] == product[j] else CROSS_PRODUCT * shared
                of_others += weights[j] / largest * part
        of_pairs += weight * of_others
        whole += weight
        squares += weight * weight
    if of_pairs == 0.0:
        return kish
    return min(max(whole * whole / (squares + 2.0 * of_pairs), 1.0), float(count))


@inner
def _moments(rewards: Any, weights: Any, count: int, total: float) -> tuple[float, float]:
    """Return mean and unbiased deviation (NaN: one has all the weight), rewards ascending."""
    least, largest = rewards[0], rewards[count - 1]
    at = 0
    for i in range(count):
        if weights[i] > weights[at]:
            at = i
    heaviest, centre = weights[at], rewards[at]
    rest = (_total(weights, 0, at) + _total(weights, at + 1, count)) / heaviest
    if least == largest:
        return least, 0.0 if rest > WEIGHTLESS else np.nan
    moved, squares = np.empty(count), np.empty(count)
    of_pairs = np.empty(count)
    whole = total / heaviest
    for i in range(count):
        weight, away = weights[i] / heaviest, rewards[i] - centre
        if i == at:
            weight = 0.0
        moved[i] = weight * away
        squares[i] = moved[i] * away
        of_pairs[i] = weight * (whole - weight)
    first = _total(moved, 0, count)
    mean = min(max(centre + first / whole, least), largest)
    if rest <= WEIGHTLESS:
        return mean, np.nan
    pairs = rest + _total(of_pairs, 0, count)
    variance = max(0.0, _total(squares, 0, count) * whole - first * first) / pairs
    return mean, min(math.sqrt(variance), LARGEST, largest / _ROOT_2 - least / _ROOT_2)


@inner
def _safe_moments(rewards: Any, weights: Any, count: int, total: float) -> tuple[float, float]:
    """Return the same for rewards whose squares no float can hold, too."""
    least, largest = rewards[0], rewards[count - 1]
    exponent = math.frexp(max(-least, largest))[1]
    if least == largest or _LEAST_SAFE < exponent < _MOST_SAFE:
        return _moments(rewards, weights, count, total)
    scaled = np.empty(count)
    for i in range(count):  # a power of two takes no digit away
        scaled[i] = math.ldexp(rewards[i], -exponent)
    mean, stdev = _moments(scaled, weights, count, total)
    most = min(LARGEST, largest / _ROOT_2 - least / _ROOT_2)
    mean = min(max(math.ldexp(mean, exponent), least), largest)
    return mean, stdev if math.isnan(stdev) else min(math.ldexp(stdev, exponent), most)


@inner
def _quantile(rewards: Any, reached: Any, count: int, share: float, total: float) -> float:
    wanted = share * total - ROUNDING * total
    at = 0
    while at < count - 1 and reached[at] < wanted:
        at += 1
    found: float = rewards[at]
    return found


@inner
def _sum_up(
    rewards: Any,
    distances: Any,
    product: Any,
    start: Any,
    end: Any,
    count: int,
    is_rbf: bool,
    width: float,
    stop_loss: float,
    out: Any,
) -> None:
    weights, scratch, reached = np.empty(count), np.empty(count), np.empty(count)
    _weigh(distances, count, is_rbf, width, weights)
    kish = _effective(weights, count, scratch)
    nearest = np.inf
    for i in range(count):
        nearest = min(nearest, distances[i])
    order = np.argsort(rewards[:count])
    ascending, by_reward = rewards[:count][order], weights[order]
    total = _total(by_reward, 0, count)
    losses, wins, sum_so_far = 0, count, 0.0
    for i in range(count):
        sum_so_far += by_reward[i]
        reached[i] = sum_so_far
        if ascending[i] < -stop_loss:
            losses = i + 1
        if ascending[i] > 0.0:
            wins = min(wins, i)
    mean, stdev = _safe_moments(ascending, by_reward, count, total)
    out[1], out[2], out[3] = count, mean, stdev
    out[4] = _quantile(ascending, reached, count, 0.05, total)
    out[5] = _quantile(ascending, reached, count, 0.5, total)
    out[6] = _quantile(ascending, reached, count, 0.95, total)
    out[7] = min(1.0, _total(by_reward, wins, count) / total)
    out[8] = min(1.0, _total(by_reward, 0, losses) / total)
    out[9] = kish
    out[10] = _independent(weights, count, product, start, end, kish)
    out[11] = nearest


@inner
def _is_apart(
    product: Any, start: Any, end: Any, count: int, of: int, begin: float, until: float
) -> bool:
    for i in range(count):  # noqa: SIM110 - a generator is not compiled
        if product[i] == of and start[i] < until and end[i] > begin:
            return False
    return True


@inner
def _in_units(reward: float, scale: float, unit: float) -> float:
    if math.isnan(unit) or math.isnan(scale):
        return reward
    return min(max(reward / scale * unit, -LARGEST), LARGEST)


@inner
def _sum_actions(
    codes: Any,
    rewards: Any,
    distances: Any,
    product: Any,
    start: Any,
    end: Any,
    count: int,
    is_rbf: bool,
    width: float,
    stop_loss: float,
    out: Any,
) -> int:
    """Set each action's statistics; return how many actions there are. Uses up the codes."""
    actions = 0
    own, near, products = np.empty(count), np.empty(count), np.empty(count, np.int32)
    starts, ends = np.empty(count), np.empty(count)
    for first in range(count):
        code = codes[first]
        if code < 0:
            continue
        size = 0
        for i in range(first, count):
            if codes[i] == code:
                own[size], near[size], products[size] = rewards[i], distances[i], product[i]
                starts[size], ends[size] = start[i], end[i]
                codes[i] = -1
                size += 1
        out[actions, 0] = code
        _sum_up(own, near, products, starts, ends, size, is_rbf, width, stop_loss, out[actions])
        actions += 1
    if count:
        _weigh(distances, count, is_rbf, width, own)
        out[actions, 9] = _effective(own, count, near)
        out[actions, 11] = distances[0]
    return actions


@inner
def _row_of(seq: int, own: Any) -> int:
    """Return the row with this number, or ABSENT."""
    count = len(own)
    row = seq - own[0] if count else -1  # the numbers are consecutive if nothing was deleted
    if 0 <= row < count and own[row] == seq:
        return row
    row = int(np.searchsorted(own, seq))
    return row if row < count and own[row] == seq else ABSENT


@compiled(
    [
        types.UniTuple(types.int64, 4)(
            readonly(types.int64, 1),
            readonly(types.float64, 1),
            readonly(types.int64, 1),
            readonly(types.float64, 2),
            readonly(types.int32, 2),
            types.boolean,
            types.float64,
            types.float64,
            types.boolean,
            types.float64,
            types.float64,
            types.int64[::1],
            types.float64[:, ::1],
        )
    ],
    nogil=False,
)
def chosen_and_summed(
    seqs: npt.NDArray[np.int64],
    distances: npt.NDArray[np.float64],
    own: npt.NDArray[np.int64],
    floats: npt.NDArray[np.float64],
    names: npt.NDArray[np.int32],
    is_distinct: bool,
    unit: float,
    now: float,
    is_rbf: bool,
    width: float,
    stop_loss: float,
    rows_out: npt.NDArray[np.int64],
    statistics_out: npt.NDArray[np.float64],
) -> tuple[int, int, int, int]:
    """Return how many were chosen, examined, and end after `now`, and how many actions they have.

    ABSENT and zeros if the history lacks one of `seqs`, the numbers of the memories found, nearest
    first. `own`, `floats` and `names`: the history's (history.py). As many are chosen as `rows_out`
    has room for. `statistics_out` (room for one action and all, COLUMNS) gets each action's
    statistics, and in the row after them `effective_n` and `nearest_distance` of all. `unit`: the
    question's scale, or NaN. `width`: of the kernel.
    """
    wanted = len(rows_out)
    if not wanted:
        return 0, 0, 0, 0
    rows = np.empty(len(seqs), np.int64)
    for i in range(len(seqs)):
        rows[i] = _row_of(seqs[i], own)
        if rows[i] == ABSENT:
            return ABSENT, 0, 0, 0
    products, codes = np.empty(wanted, np.int32), np.empty(wanted, np.int32)
    starts, ends = np.empty(wanted), np.empty(wanted)
    rewards, near = np.empty(wanted), np.empty(wanted)
    size = found = later = 0
    for i in range(len(rows)):
        row = rows[i]
        begin, until = floats[_START, row], floats[_END, row]
        if math.isinf(until):  # it is open
            continue
        found += 1
        if until == floats[_RECORDED, row]:
            until = begin
        product = names[_PRODUCT, row]
        if is_distinct and not _is_apart(products, starts, ends, size, product, begin, until):
            continue
        products[size], codes[size] = product, names[_ACTION, row]
        starts[size], ends[size] = begin, until
        rewards[size] = _in_units(floats[_REWARD, row], floats[_SCALE, row], unit)
        near[size], rows_out[size] = distances[i], row
        later += until > now
        size += 1
        if size == wanted:
            break
    actions = _sum_actions(
        codes, rewards, near, products, starts, ends, size, is_rbf, width, stop_loss, statistics_out
    )
    return size, found, later, actions
