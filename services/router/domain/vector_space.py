"""Which models may answer a request for vectors: those of one vector space, never silently another's. Pure.

Vectors of two models cannot be compared, whatever their length: an index that is filled by one and searched with the
other finds noise, and nothing fails. So a request is bound to the space of the one model that it means. Others take
part only if the policy says that their vectors are equal, which an admin knows of the same model at several vendors.
"""

from collections.abc import Iterable, Mapping

from services.router.domain.catalogue import ModelFacts, ModelKind
from services.router.domain.patterns import matches
from services.router.domain.policy import Share


def meant(models: Mapping[str, ModelFacts], asked: tuple[str, ...], shares: tuple[Share, ...]) -> str:
    """The model that a name stands for. An alias of several means its weightiest target, else its first.

    A target that is a pattern means the first model of that pattern, by name. Empty: no model that makes vectors.
    It depends on the name and the catalogue alone, not on what works at the moment.
    """
    weighed = sorted(shares, key=lambda share: -share.weight)
    for pattern in [share.pattern for share in weighed] or asked:
        for name in sorted(models):
            if models[name].kind is ModelKind.EMBEDDING and matches(pattern, models[name]):
                return name
    return ""


def space_of(model: str, equal: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    """The model first, then those whose vectors are equal to its own."""
    others = (name for group in equal if model in group for name in group)
    return tuple(dict.fromkeys((model, *others)))
