"""Made-up prices for the demo's tests: the real ones come with a package that tests do without."""

import numpy as np

from demo.market import Market


def random_market(days: int = 560, products: int = 3, seed: int = 7) -> Market:
    """Random walks with unlike volatilities and changing trends, on consecutive days."""
    generator = np.random.default_rng(seed)
    steps = generator.normal(0.0, 1.0, (days, products)) * np.linspace(0.005, 0.03, products)
    drift = 0.004 * np.sin(np.arange(days)[:, np.newaxis] / 60 + np.arange(products))
    return Market(
        products=tuple(f"P-{number}" for number in range(products)),
        dates=np.datetime64("2001-01-01") + np.arange(days),
        prices=50.0 * np.exp(np.cumsum(steps + drift, axis=0)),
    )
