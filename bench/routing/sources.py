"""Where the bench finds its data: recorded outcomes beside the project, labelled prompts in it."""

import os
from pathlib import Path

from services.cli.rows import read_outcomes
from services.router.domain.learning.outcomes import Outcome
from services.router.domain.task_belief.classifier import Example

ROOT = Path(__file__).parents[2]
OUTCOMES = Path(os.environ.get("ROUTING_OUTCOMES", ROOT.parent / "shared" / "routing" / "outcomes.jsonl.gz"))
DATA = ROOT / "services" / "router" / "data"
LICENSED = frozenset(
    {"paretobandit", "routellm_mmlu", "routellm_gsm8k", "llmrouter", "mmlu_pro", "zeroeval_gsm"}
)
"""Sets under Apache-2.0 or MIT. Only these may train what ships; the others are for measuring."""


def outcomes() -> list[Outcome]:
    """Recorded outcomes; SystemExit that says what to do where there are none."""
    if not OUTCOMES.exists():
        raise SystemExit(f"no recorded outcomes at {OUTCOMES}; set ROUTING_OUTCOMES to a file of them")
    return read_outcomes(OUTCOMES)


def prompts(path: Path) -> list[Example]:
    """Labelled prompts: `task<TAB>prompt` a line, line breaks written as \\n."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        task, prompt = line.split("\t")
        found.append(Example(prompt.replace("\\n", "\n"), task))
    return found


def training_prompts() -> list[Example]:
    """What the shipped classifier learned from."""
    return prompts(DATA / "natural_prompts.tsv")


def held_out_prompts() -> list[Example]:
    """Written apart from the training prompts; the classifier never sees them in training."""
    return prompts(Path(__file__).with_name("natural_eval.tsv"))
