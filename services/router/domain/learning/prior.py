"""What training leaves behind: a file of at most 2 MB that holds no prompt, no answer and no code.

The format is NumPy's zip of arrays (`.npz`, never pickled) with one JSON document beside the arrays. Wide arrays are
stored in half precision: rounding changed no figure of the benchmark.
"""

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from services.router.domain.learning.encoder import Encoder
from services.router.domain.learning.text import BUCKETS, SCALARS, FloatArray

FORMAT = "turnpike-prior/2"
PRIOR_BYTES_MAX = 2_000_000  # what may be shipped; a larger file is refused on saving and on loading.


class PriorError(ValueError):
    """The file is no prior of this version, or is damaged."""


@dataclass(frozen=True, slots=True)
class Arms:
    """What was learned of K models ("arms"), each in its context (the set of rows it was measured in).

    name, context: (K,).  quality, cost: (K,) means over the context's rows; cost in USD, NaN where none was recorded.
    gain_*: deviations from the row's mean quality: per task (T, K), per task × difficulty (T, K), per wave
    (W, K), per topic axis (L + Q, K), per difficulty (K,).  level_*: the row's mean itself.  cost_*: relative
    deviations of cost.  rows: (T, K) how many outcomes were seen.
    deviation: (K,) of gains between tasks, what an unseen task may differ by.
    noise: (K,) variance of one outcome round its expectation.
    """

    name: tuple[str, ...]
    context: tuple[str, ...]
    quality: FloatArray
    cost: FloatArray
    gain_task: FloatArray
    gain_slope: FloatArray
    gain_style: FloatArray
    gain_topic: FloatArray
    gain_difficulty: FloatArray
    level_task: FloatArray
    level_difficulty: FloatArray
    cost_task: FloatArray
    cost_style: FloatArray
    cost_topic: FloatArray
    cost_length: FloatArray
    rows: FloatArray
    deviation: FloatArray
    noise: FloatArray


@dataclass(frozen=True, slots=True)
class Prior:
    """An encoder, what is known of models, and where it comes from."""

    encoder: Encoder
    tasks: tuple[str, ...]
    parents: tuple[str, ...]  # of each task: the natural task it belongs to, or "" if none is known.
    arms: Arms
    unfamiliar: tuple[float, float]  # logistic (slope, offset) of "an unseen task" on the familiarity.
    doubtful: Mapping[str, tuple[float, float]] = field(default_factory=dict)  # per context, see `steps`.
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def version(self) -> str:
        """Short name of the content, recorded with every decision."""
        return str(self.provenance.get("version", "unversioned"))


_ARM_ARRAYS = tuple(name for name in Arms.__slots__ if name not in {"name", "context"})
_HALF_MIN_SIZE = 4_096  # arrays below it are not worth rounding.


def to_bytes(prior: Prior) -> bytes:
    """The file's content. Raises PriorError if it would be larger than PRIOR_BYTES_MAX."""
    arrays: dict[str, npt.NDArray[Any]] = {}
    numbers: dict[str, float] = {}
    for name in Encoder.__slots__:
        value = getattr(prior.encoder, name)
        if isinstance(value, float):
            numbers[name] = value
        else:
            arrays[f"encoder.{name}"] = value
    for name in _ARM_ARRAYS:
        arrays[f"arms.{name}"] = getattr(prior.arms, name)
    document = {
        "format": FORMAT,
        "buckets": BUCKETS,
        "scalars": list(SCALARS),
        "numbers": numbers,
        "tasks": list(prior.tasks),
        "parents": list(prior.parents),
        "arm_names": list(prior.arms.name),
        "arm_contexts": list(prior.arms.context),
        "unfamiliar": list(prior.unfamiliar),
        "doubtful": {context: list(prices) for context, prices in prior.doubtful.items()},
        "provenance": prior.provenance,
    }
    stored = {name: _shrunk(value) for name, value in arrays.items()}
    stored["document"] = np.frombuffer(json.dumps(document, sort_keys=True).encode(), dtype=np.uint8)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **stored)
    content = buffer.getvalue()
    if len(content) > PRIOR_BYTES_MAX:
        raise PriorError(f"a prior has at most {PRIOR_BYTES_MAX} bytes, this one would have {len(content)}")
    return content


def from_bytes(content: bytes) -> Prior:
    """The prior of a file's content, in some 20 ms. Raises PriorError on anything that is not one."""
    if len(content) > PRIOR_BYTES_MAX:
        raise PriorError(f"a prior has at most {PRIOR_BYTES_MAX} bytes, this has {len(content)}")
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            document = json.loads(archive["document"].tobytes())
            arrays = {name: archive[name] for name in archive.files if name != "document"}
    except (ValueError, KeyError, zipfile.BadZipFile, EOFError) as error:
        raise PriorError(f"not a prior: {error}") from error
    if document.get("format") != FORMAT:
        raise PriorError(f"the prior's format is {document.get('format')!r}, this engine reads {FORMAT!r}")
    if document["buckets"] != BUCKETS or tuple(document["scalars"]) != SCALARS:
        raise PriorError("the prior was trained on other text features than this engine computes")
    try:
        single = {name: np.asarray(value, dtype=np.float32) for name, value in arrays.items()}
        parts: dict[str, Any] = {
            name[8:]: value for name, value in single.items() if name.startswith("encoder.")
        }
        encoder = Encoder(**document["numbers"], **parts)
        arms = Arms(
            name=tuple(document["arm_names"]),
            context=tuple(document["arm_contexts"]),
            **{name[5:]: value for name, value in single.items() if name.startswith("arms.")},
        )
    except (TypeError, KeyError) as error:
        raise PriorError(f"the prior is incomplete: {error}") from error
    slope, offset = document["unfamiliar"]
    return Prior(
        encoder=encoder,
        tasks=tuple(document["tasks"]),
        parents=tuple(document["parents"]),
        arms=arms,
        unfamiliar=(float(slope), float(offset)),
        # A prior from before there were steps has none, and bids as it did.
        doubtful={
            context: (float(low), float(high))
            for context, (low, high) in document.get("doubtful", {}).items()
        },
        provenance=document["provenance"],
    )


def _shrunk(value: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return value.astype(np.float16) if value.size >= _HALF_MIN_SIZE else value
