"""What the product assumes of the query engine, each assumption with a probe that tries it.

docs/reference/engine.md lists them with the versions that they were tried on.
"""

from app.storage.assumptions.look import (
    clear_leftovers,
    look_at_engine,
    require_assumptions,
)
from app.storage.assumptions.table import AT_START, PROBES

__all__ = ["AT_START", "PROBES", "clear_leftovers", "look_at_engine", "require_assumptions"]
