"""How much dearer a doubt must be, that an unknown task gets the best single model at a price frozen on known ones."""

import numpy as np

from services.router.domain.learning.metrics import PRICES
from services.router.domain.learning.text import FloatArray

STRETCHES = np.logspace(0, 2, 17)  # steps of a third; more than 100 was needed by no set.
FLOOR = 0.95  # the boldest floor that somebody is likely to freeze a price of money for ...
MARGIN = 3.0  # ... on a sample that shows that price to within this factor.
LOSS = 0.01  # of quality: models this close to the default are as safe as it is.


def least_stretch(quality: FloatArray, cost: FloatArray, share: FloatArray) -> float:
    """The least of STRETCHES under which the default wins on an unknown task; 1 where nothing can be traded.

    quality, cost: (T, M), expected per known task and model, USD.  share: (T,), how common the tasks are; sums to 1.
    The frozen price is taken for the highest at which the known tasks, each given what is then its best model, still
    keep FLOOR of the best single model's quality. Where a cost is unknown there is no price, and bids stay what they
    are: stretched ones would put all unknown tasks before all known ones.
    """
    alone, paid = share @ quality, share @ cost
    if np.isnan(paid).any():
        return 1.0
    tasks = np.arange(len(quality))
    chosen = (quality - PRICES[:, None, None] * cost).argmax(axis=2)
    kept = quality[tasks, chosen] @ share >= FLOOR * alone.max()
    price = MARGIN * PRICES[np.flatnonzero(kept).max(initial=0)]
    bids = STRETCHES[:, None] * alone - price * paid
    enough = alone[bids.argmax(axis=1)] >= (1 - LOSS) * alone.max()
    return float(STRETCHES[enough.argmax()] if enough.any() else STRETCHES[-1])
