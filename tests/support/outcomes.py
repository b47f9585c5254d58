"""Made-up outcomes with a known truth: tasks whose best model differs, prompts drawn from small vocabularies."""

from typing import Any

import numpy as np

VOCABULARIES = {
    "sums": "add subtract apples costs total dollars each how many sells buys price number",
    "poems": "poem rhyme verse moon love silence autumn lyric stanza sonnet metaphor sky",
    "code": "function python return list string integer loop write bug array index class",
    "history": "king war treaty empire century revolution dynasty battle president colony law reign",
}
"""Words of each task."""

QUALITY = {
    "sums": (0.9, 0.5, 0.85),
    "poems": (0.6, 0.62, 0.9),
    "code": (0.4, 0.3, 0.9),
    "history": (0.7, 0.72, 0.75),
}
"""True quality per task of MODELS."""

MODELS = ("acme/sparrow-8b", "acme/finch-7b", "acme/eagle-70b")
COST = (0.0001, 0.00008, 0.002)


def made_rows(count: int, seed: int, tasks: tuple[str, ...] = tuple(VOCABULARIES)) -> list[dict[str, Any]]:
    """Rows as files of outcomes hold them."""
    random = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        task = tasks[int(random.integers(len(tasks)))]
        words = random.choice(VOCABULARIES[task].split(), size=12)
        arms = {
            model: [float(random.random() < quality), cost * (1 + 0.1 * float(random.random()))]
            for model, quality, cost in zip(MODELS, QUALITY[task], COST, strict=True)
        }
        prompt = f"{' '.join(words)} ({number})"
        rows.append({"id": f"row-{number}", "set": "made", "task": task, "prompt": prompt, "arms": arms})
    return rows
