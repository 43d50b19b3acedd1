"""What the service assumes of the query engine. Each assumption has a probe that tests it.

docs/reference/engine.md lists them with the tested versions.
"""

from app.storage.assumptions.look import (
    clear_leftovers,
    look_at_engine,
    require_assumptions,
)
from app.storage.assumptions.table import AT_START, PROBES

__all__ = ["AT_START", "PROBES", "clear_leftovers", "look_at_engine", "require_assumptions"]
