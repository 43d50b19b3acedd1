"""Operations on distances that are learned from outcomes."""

from urllib.parse import urlencode

import msgspec

from coinswarm_memory.answers.distances import Distance, DistanceFit, Promotion
from coinswarm_memory.operations.jobs import Jobs
from coinswarm_memory.operations.request import Operation, Request, escaped, reading

_ROOT = "/v1/distances"


class DistanceList(msgspec.Struct, frozen=True):
    """An agent's distances, the latest first."""

    distances: list[Distance]


DISTANCES = Jobs(_ROOT, "learning", reading(DistanceFit))

_list = reading(DistanceList)
_promotion = reading(Promotion)


def list_of(agent_id: str, as_of: float | None) -> Operation[DistanceList]:
    """List an agent's distances."""
    asked = {"agent_id": agent_id} | ({} if as_of is None else {"as_of": repr(as_of)})
    return Operation(Request("GET", f"{_ROOT}?{urlencode(asked)}"), _list)


def promote(name: str, evaluation_id: str) -> Operation[Promotion]:
    """Let the swarm go by a distance."""
    body = msgspec.json.encode({"evaluation_id": evaluation_id})
    return Operation(Request("PUT", _promotion_of(name), body), _promotion)


def take_back(name: str) -> Operation[None]:
    """Let the swarm go by the cosine distance again."""
    return Operation(Request("DELETE", _promotion_of(name)), lambda _: None, gone_is_done=True)


def _promotion_of(name: str) -> str:
    return f"{_ROOT}/{escaped(name)}/promotion"
