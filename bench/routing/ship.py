"""Trains what the router ships: the task classifier and the prior. `python -m bench.routing.ship`."""

import hashlib
from collections.abc import Sequence

from bench.routing.sources import DATA, LICENSED, OUTCOMES, outcomes, training_prompts
from services.cli.prior_files import write_whole
from services.router.domain.learning.prior import to_bytes
from services.router.domain.learning.training import train
from services.router.domain.task_belief.classifier import train_classifier

NATURAL = {
    "code": "mbpp",
    "creative": "commongen",
    "maths": "gsm gsm8k math agentverse-mgsm agentverse-logicgrid abstract_algebra elementary_mathematics "
    "high_school_mathematics college_mathematics high_school_statistics formal_logic physics engineering "
    "college_physics high_school_physics bbh/object_counting bbh/multistep_arithmetic_two bbh/boolean_expressions "
    "bbh/web_of_lies bbh/formal_fallacies bbh/date_understanding bbh/temporal_sequences bbh/dyck_languages "
    "bbh/reasoning_about_colored_objects",
}
"""Which natural task a benchmark is an example of; all the others here are question answering."""
PARENTS = {name: task for task, names in NATURAL.items() for name in names.split()}


def parent_of(benchmark: str, prompts: Sequence[str]) -> str:
    """The natural task of a benchmark: told, for the classifier takes multiple choice for anything."""
    return PARENTS.get(benchmark, "question_answering")


def main() -> None:
    """Writes services/router/data/tasks.npz and prior.npz."""
    text = (DATA / "natural_prompts.tsv").read_bytes()
    classifier = train_classifier(training_prompts(), version=hashlib.sha256(text).hexdigest()[:12])
    size = write_whole(DATA / "tasks.npz", classifier.to_bytes())
    print(f"tasks.npz: {size:,} bytes from {len(training_prompts())} prompts")
    rows = [outcome for outcome in outcomes() if outcome.context in LICENSED]
    prior = train(
        rows,
        parent_of=parent_of,
        provenance={
            "version": hashlib.sha256(OUTCOMES.read_bytes()).hexdigest()[:12],
            "sets": sorted({outcome.context for outcome in rows}),
            "licences": "Apache-2.0 and MIT sets only",
        },
    )
    size = write_whole(DATA / "prior.npz", to_bytes(prior))
    print(f"prior.npz: {size:,} bytes from {len(rows)} rows")


if __name__ == "__main__":
    main()
