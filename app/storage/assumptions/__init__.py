"""What the service assumes of the query engine. Each assumption has a probe that tests it.

docs/reference/engine.md lists them with the tested versions.
"""

from app.storage.assumptions.look import (
    AT_START,
    PROBES,
    clear_leftovers,
    look_at_engine,
    require_assumptions,
)

__all__ = ["AT_START", "PROBES", "clear_leftovers", "look_at_engine", "require_assumptions"]
