"""What a model is called: `provider/model`, such as `openai/gpt-5.4-mini` or `local/smollm2-135m-instruct`."""

import re
from dataclasses import dataclass
from typing import Self

PROVIDER = re.compile(r"[a-z0-9][a-z0-9\-_.]{0,63}")
# Vendors' own names: upper case, colons (fine-tunes), at signs (versions) and slashes (namespaces) all occur.
MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9\-_.:@/+]{0,199}")


@dataclass(frozen=True, slots=True, order=True)
class ModelRef:
    """One provider's model. The same weights at another provider are another reference."""

    provider: str
    model: str

    def __post_init__(self) -> None:
        if not PROVIDER.fullmatch(self.provider) or not MODEL.fullmatch(self.model):
            raise ValueError(f"is not of the form provider/model: {self.provider[:64]}/{self.model[:200]}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """`provider/model` as a reference; raises ValueError if it has not that form.

        The first slash divides: `openrouter/meta/llama-3` is the model `meta/llama-3` at `openrouter`.
        """
        provider, slash, model = text.partition("/")
        if not slash:
            raise ValueError(f"is not of the form provider/model: {text[:264]}")
        return cls(provider, model)

    def __str__(self) -> str:
        return f"{self.provider}/{self.model}"
