"""Data frames of pandas, polars and pyarrow as columns."""

import sys
from typing import Any

from coinswarm_memory.packages import require

_LIBRARIES = ("pandas", "polars", "pyarrow")


def frame_columns(data: object) -> dict[str, Any] | None:
    """Return the columns of a data frame by name. Returns None for anything else.

    Raises PackageMissing when narwhals, which reads all of them, is not installed.
    """
    library = type(data).__module__.partition(".")[0]
    if library not in _LIBRARIES or library not in sys.modules:
        return None
    narwhals = require("narwhals", "frames")
    frame = narwhals.from_native(data, eager_only=True)
    return {name: _values(frame[name]) for name in frame.columns}


def _values(series: Any) -> Any:
    if series.dtype.is_nested() or series.dtype == require("narwhals", "frames").Object:
        return series.to_list()
    return series.to_numpy()
