"""A recall's id, which holds everything needed to count the outcome of its decision.

Nothing is stored when a question is answered: the id itself holds the arm, the shares by which it
was drawn, the time, and the agent. The checksum distinguishes it from any other id but does not
prevent forgery: a caller who may report an agent's rewards could make them up anyway.
"""

import re
import secrets
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from typing import Final
from zlib import crc32

from app.model import ARMS, ArmName

WHOLE: Final = 10_000
"""Shares are counted in hundredths of a per cent, so that each arm's probability is exact."""

PREFIX: Final = "recall-"
MAX_NAMED_BYTES: Final = 60
"""A longer agent's name is left out, so that an id fits wherever a memory's id does."""

_VERSION = 1
_FIXED = struct.Struct(">BBHHQ8s3s")
_CHECK = struct.Struct(">I")
_NAME = re.compile(r"[^{}\x00-\x1f\x7f-\x9f]+")
"""An agent's name (app/contract/fields.py)."""
MS_PER_S = 1000


@dataclass(frozen=True, slots=True)
class Shares:
    """The shares of recalls, of WHOLE, that get no memory and a placebo."""

    no_memory: int = 0
    placebo: int = 0

    @property
    def are_set(self) -> bool:
        """Return whether any recall is answered without its memory."""
        return self.no_memory > 0 or self.placebo > 0

    @property
    def chances(self) -> tuple[int, int, int]:
        """Return the share of each arm, in the order of ARMS."""
        return WHOLE - self.no_memory - self.placebo, self.no_memory, self.placebo


@dataclass(frozen=True, slots=True)
class RecallTicket:
    """What a recall's id says. `unit`: recalls of one unit share their arm (16 hex digits)."""

    recall_id: str
    agent_id: str
    arm: ArmName
    shares: Shares
    issued_at: float
    unit: str


def new_recall_id(agent_id: str, arm: ArmName, shares: Shares, unit: bytes, now: float) -> str:
    """Return an id for an answer given now (unix seconds). `unit` has 8 bytes."""
    name = agent_id.encode()
    told = _FIXED.pack(
        _VERSION,
        ARMS.index(arm),
        shares.no_memory,
        shares.placebo,
        int(now * MS_PER_S),
        unit,
        secrets.token_bytes(3),
    ) + (name if len(name) <= MAX_NAMED_BYTES else b"")
    check = _CHECK.pack(crc32(name, crc32(told)))
    return PREFIX + urlsafe_b64encode(check + told).rstrip(b"=").decode()


def needs_agent(recall_id: str) -> bool:
    """Return whether an id leaves its agent's name out."""
    told = _decoded(recall_id)
    return told is not None and len(told) == _CHECK.size + _FIXED.size


def read_recall_id(text: str, agent_id: str | None = None) -> RecallTicket | None:
    """Return what an id says. None if it is not a recall's id, or is another agent's."""
    told = _decoded(text)
    if told is None:
        return None
    check, fixed = told[: _CHECK.size], told[_CHECK.size :]
    name = fixed[_FIXED.size :] or (b"" if agent_id is None else agent_id.encode())
    if _CHECK.pack(crc32(name, crc32(fixed))) != check:
        return None
    return _ticket(text, fixed, name, agent_id)


def _ticket(text: str, fixed: bytes, name: bytes, agent_id: str | None) -> RecallTicket | None:
    """Return what a checked id says. None if no service has made it."""
    version, arm, no_memory, placebo, issued_ms, unit, _ = _FIXED.unpack_from(fixed)
    if version != _VERSION or arm >= len(ARMS) or no_memory + placebo > WHOLE:
        return None
    shares = Shares(no_memory, placebo)
    whose = name.decode(errors="replace")
    is_agent = whose.encode() == name and _NAME.fullmatch(whose) and agent_id in {None, whose}
    # No arm without a share is ever drawn.
    if not is_agent or not shares.chances[0] or not shares.chances[arm]:
        return None
    return RecallTicket(text, whose, ARMS[arm], shares, issued_ms / MS_PER_S, unit.hex())


def _decoded(text: str) -> bytes | None:
    if not text.startswith(PREFIX):
        return None
    coded = text[len(PREFIX) :]
    if not coded.isascii():
        return None
    try:
        told = urlsafe_b64decode(coded + "=" * (-len(coded) % 4))
    except ValueError:
        return None
    # Only one spelling of an id is valid, not other encodings of the same bytes.
    if urlsafe_b64encode(told).rstrip(b"=").decode() != coded:
        return None
    return told if len(told) >= _CHECK.size + _FIXED.size else None
