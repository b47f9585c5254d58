"""Embeddings: the road of every request (generate.py), with texts instead of a conversation and vectors at its end.

What differs: the models are those of one vector space (domain/vector_space.py), there is no output to hold, and an
attempt is one small call rather than a conversation. Holds, fallback, hedging, settlement and the record are the same.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from services.kernel.ids import RequestId
from services.router.domain.access import Caller
from services.router.domain.features import Features, Wishes
from services.router.ports import Conversation, Dispatch, VectorModels
from services.router.use_cases.route import Subject, TextBounds
from turnpike.common.v1 import content_pb2

TASK = "embed"
"""What such requests are reported as, and what policies may deny."""


@dataclass(slots=True)
class Embedding:
    """A request for vectors, checked and measured, and what came of it."""

    request_id: RequestId
    callers_id: bool
    """True if the caller chose the id, and so may repeat the request."""
    model: str
    texts: Sequence[str]
    dimensions: int | None
    metadata: dict[str, str]
    user: str
    features: Features
    text_bounds: TextBounds
    content_hash: Callable[[], bytes]
    vectors: dict[int, Sequence[content_pb2.Embedding]] = field(default_factory=dict)
    """What came back, by attempt."""

    def subject(self, caller: Caller) -> Subject:
        """The request as routing sees it."""
        wishes = Wishes(model=self.model, task=TASK)
        return Subject(caller, wishes, self.features, task=TASK, text_bounds=self.text_bounds)

    def embedded(self, attempt: int, vectors: Sequence[content_pb2.Embedding]) -> None:
        """An attempt has brought the vectors."""
        self.vectors[attempt] = vectors


@dataclass(frozen=True, slots=True)
class EmbeddingModels:
    """The `Models` port of one run: every attempt asks for the vectors of the same texts."""

    models: VectorModels
    embedding: Embedding

    async def begin(self, dispatch: Dispatch) -> Conversation:
        """Begins an attempt."""
        return await self.models.embedding(dispatch, self.embedding)
