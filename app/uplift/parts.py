"""What recalls, decisions and their report need, created once per process."""

import time
from dataclasses import dataclass

from app.auth.limits import AgentAdmission
from app.decisions.arms import Arms
from app.decisions.donors import Donors, DonorStates
from app.decisions.ledger import DecisionLedger
from app.decisions.recall_ids import WHOLE, Shares
from app.errors import ConfigurationError
from app.memory.questions import SECONDS_PER_DAY
from app.nodes.reads import ReadRouter
from app.settings import Settings
from app.storage.agents import AgentNames
from app.storage.index import Indexes
from app.storage.memories import MemoryStore
from app.uplift.operations import DecisionOperations

ARM_SHARES = ("arm_no_memory_share", "arm_placebo_share")
"""The settings without which no arm is drawn."""
MAX_OPEN = 10_000
"""Decisions of one agent that are open or were just closed: about 3 MB."""


@dataclass(frozen=True, slots=True)
class Deciding:
    """The parts."""

    arms: Arms
    ledger: DecisionLedger
    operations: DecisionOperations


def deciding_parts(
    settings: Settings,
    store: MemoryStore,
    reads: ReadRouter,
    indexes: Indexes,
    admit: AgentAdmission,
) -> Deciding:
    """Return the parts. Raise ConfigurationError if the shares leave none for the memory."""
    states = DonorStates(reads, indexes, timeout_ms=settings.search_timeout_ms)
    arms = Arms(shares_of(settings), Donors(states), time.time)
    ledger = DecisionLedger(
        store.shards,
        store,
        now=time.time,
        open_s=settings.decision_open_days * SECONDS_PER_DAY,
        max_open=MAX_OPEN,
    )
    return Deciding(arms, ledger, DecisionOperations(ledger, arms, AgentNames(reads), admit))


def shares_of(settings: Settings) -> Shares:
    """Return the arms' shares. Raise ConfigurationError if they leave none for the memory."""
    shares = Shares(
        round(settings.arm_no_memory_share * WHOLE), round(settings.arm_placebo_share * WHOLE)
    )
    if shares.chances[0] <= 0:
        raise ConfigurationError(
            "MEMORY_ARM_NO_MEMORY_SHARE and MEMORY_ARM_PLACEBO_SHARE must be less than 1 together: "
            "the rest is the memory's."
        )
    return shares
