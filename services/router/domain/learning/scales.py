"""How far effects of each kind vary between models, told by the rows themselves: evidence maximisation (MacKay 1992).

A context of few rows, or whose prompts tell little, gets small scales, and its models are told apart by task alone; one
where style or topic matter gets larger ones. One scale per kind for all models of a context: per model it fitted noise.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

GRID = (0.0, 0.05, 0.1, 0.2, 0.35, 0.6, 1.0, 1.7)
"""Standard deviation of an effect over that of the noise; finer steps change the evidence by less than it is known."""

ROUNDS = 2  # of looking at every kind in turn; a third moved nothing.
NATS_TO_MOVE = 1.0  # evidence that a step must win, so that ties stay where held-out splits had put them.
ROWS_MIN = 50  # with fewer the start is as good as what so few rows can tell.


def evident_scales(blocks: Sequence[Array], targets: Array, start: Sequence[float]) -> tuple[float, ...]:
    """Scales of the blocks' effects in units of the noise's deviation, from `start`.

    blocks: (n, p_b) each.  targets: (n, k), of one noise after they are turned into the directions they vary in.
    """
    if len(targets) < ROWS_MIN:
        return tuple(start)
    design = np.hstack(blocks)
    widths = [block.shape[1] for block in blocks]
    _, _, directions = np.linalg.svd(targets - targets.mean(0), full_matrices=False)
    turned = targets @ directions.T
    sizes = (turned**2).sum(0)
    turned, sizes = turned[:, sizes > sizes.max() * 1e-6], sizes[sizes > sizes.max() * 1e-6]
    gram, product = design.T @ design, design.T @ turned

    def evidence(scales: Sequence[float]) -> float:
        by_column = np.repeat(np.asarray(scales), widths)
        used = by_column > 0
        scale = by_column[used]
        square = gram[np.ix_(used, used)] * np.outer(scale, scale) + np.eye(len(scale))
        root = np.linalg.cholesky(square)
        explained = np.linalg.solve(root, product[used] * scale[:, None])
        left = np.maximum(sizes - (explained**2).sum(0), 1e-12) / len(turned)
        return float(-0.5 * len(turned) * np.log(left).sum() - len(sizes) * np.log(np.diag(root)).sum())

    found, best = list(start), evidence(start)
    for _ in range(ROUNDS):
        before = tuple(found)
        for kind in range(len(found)):
            for scale in GRID:
                tried = [*found[:kind], scale, *found[kind + 1 :]]
                if (reached := evidence(tried)) > best + NATS_TO_MOVE:
                    found, best = tried, reached
        if tuple(found) == before:
            break
    return tuple(found)
