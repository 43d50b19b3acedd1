"""Store and recall with the installed client: `python try_installed.py URL VERSION`."""

import sys

import numpy as np
import pandas as pd

import coinswarm_memory
from coinswarm_memory import Memory

url, version = sys.argv[1:]
assert coinswarm_memory.__version__ == version, coinswarm_memory.__version__
assert "site-packages" in coinswarm_memory.__file__, coinswarm_memory.__file__
with Memory(url) as memory:
    me = memory.agent("installed")
    states = np.random.default_rng(0).normal(size=(20, 256))
    report = me.remember_many(pd.DataFrame({"state": list(states), "reward": 0.5}), action="buy")
    assert report.done == len(states), report
    assert not report.refused, report
    assert me.recall(states[3], k=1).to_pandas().distance[0] < 1e-6
print(f"coinswarm-memory-client {version} works with numpy {np.__version__}.")
