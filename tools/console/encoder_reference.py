"""Write what the console's encoder needs from the Python client's: random-walk statistics.

`make vendor` runs it; a test compares the states of both.
"""

import json
from pathlib import Path

from coinswarm_memory.market.features import Layout, random_walk_reference

TARGET = (
    Path(__file__).parents[2] / "app" / "console" / "static" / "js" / "encoder" / "reference.json"
)
WINDOW, DIMENSION = 64, 256


def reference() -> dict[str, dict[str, list[float]]]:
    """Return the mean and deviation of each number, for each choice of columns."""
    found = {}
    for with_range in (False, True):
        for with_volume in (False, True):
            layout = Layout(WINDOW, DIMENSION, with_range=with_range, with_volume=with_volume)
            figures = random_walk_reference(layout)
            name = ("range" if with_range else "close") + ("-volume" if with_volume else "")
            found[name] = {
                "mean": figures.mean.tolist(),
                "deviation": figures.deviation.tolist(),
            }
    return found


if __name__ == "__main__":
    TARGET.write_text(json.dumps(reference(), separators=(",", ":")) + "\n", encoding="utf-8")
