"""The demo's prices: daily closes of 20 US stocks, 1990 to 2022, out of the package skfolio.

The only module that needs skfolio and pandas, which `make demo` installs and the service does not
use. The file comes with that package: nothing is downloaded and nothing is kept in this repository.
"""

import numpy as np
from skfolio.datasets import load_sp500_dataset

from demo.market import Market


def load_market() -> Market:
    """Adjusted daily closes in US dollars: 8,313 days (1990-01-02 to 2022-12-28), 20 stocks."""
    table = load_sp500_dataset()
    return Market(
        products=tuple(str(name) for name in table.columns),
        dates=table.index.to_numpy().astype("datetime64[D]"),
        prices=table.to_numpy(dtype=np.float64),
    )
