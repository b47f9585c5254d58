"""Requests for vectors and their answers on the wire."""

from collections.abc import Callable, Sequence

from services.kernel.ids import RequestId
from services.kernel.tokens import byte_bound
from services.router.convert_features import BYTES_PER_TOKEN
from services.router.convert_outcome import fill_pb_outcome
from services.router.convert_requests import Faults, check_identity, hash_of
from services.router.domain.catalogue import ModelKind
from services.router.domain.features import Features
from services.router.records import DecisionRecord
from services.router.use_cases.asking import Finished, Piece
from services.router.use_cases.embed import Embedding
from services.router.use_cases.generate import Run
from services.router.use_cases.route import AUTO
from services.tokens import EXACT_BYTES_MAX, count_text
from turnpike.router.v1 import router_pb2 as pb

TEXTS_MAX = 2048
"""As the contract has it."""

DIMENSIONS_MAX = 65_536
"""More than any model has; a larger figure is a mistake."""


def from_pb_embed(request: pb.EmbedRequest) -> Embedding:
    """The request, checked and measured. Raises InvalidRequest, which names every field that is wrong."""
    faults = Faults()
    check_identity(request, faults)
    if request.model in AUTO:
        faults.add(
            "model", "is required: a provider/model or an alias, because vectors of two models do not compare"
        )
    if not 1 <= len(request.texts) <= TEXTS_MAX:
        faults.add("texts", f"holds 1 to {TEXTS_MAX} texts")
    for index, text in enumerate(request.texts):
        if not text:
            faults.add(f"texts[{index}]", "is not empty")
            break
    if request.HasField("dimensions") and not 1 <= request.dimensions <= DIMENSIONS_MAX:
        faults.add("dimensions", f"is 1 to {DIMENSIONS_MAX}")
    faults.raise_if_any()
    texts: Sequence[str] = tuple(request.texts)
    sizes = [len(text) if text.isascii() else len(text.encode()) for text in texts]
    size = sum(sizes)
    features = Features(
        input_tokens_bound=byte_bound(size, messages=len(texts)),
        input_tokens_estimate=int(size / BYTES_PER_TOKEN),
        text_bytes=size,
        turns=len(texts),
        kind=ModelKind.EMBEDDING,
        parameters=frozenset({"dimensions"} if request.HasField("dimensions") else ()),
        output_cap_asked=0,
        longest_text_bound=max(sizes),
    )
    return Embedding(
        request_id=RequestId(request.request_id) if request.request_id else RequestId.new(),
        callers_id=bool(request.request_id),
        model=request.model,
        texts=texts,
        dimensions=request.dimensions if request.HasField("dimensions") else None,
        metadata=dict(request.metadata),
        user=request.user,
        features=features,
        text_bounds=_bounds_of(texts, sizes),
        content_hash=lambda: hash_of(b"embed", request.SerializeToString(deterministic=True)),
    )


def _bounds_of(texts: Sequence[str], sizes: Sequence[int]) -> Callable[[str], tuple[int, int]]:
    def bounds(tokenizer: str) -> tuple[int, int]:
        total = longest = 0
        left = EXACT_BYTES_MAX  # what is beyond it is bounded by bytes; the longest texts are counted first
        for size, text in sorted(zip(sizes, texts, strict=True), key=lambda pair: -pair[0]):
            left -= size
            bound = count_text(text, tokenizer).upper_bound if left >= 0 else size
            bound += TEXT_OVERHEAD_TOKENS
            total, longest = total + bound, max(longest, bound)
        return total, longest

    return bounds


TEXT_OVERHEAD_TOKENS = 2
"""Marks that tokenizers of embedding models set at the beginning and the end of a text, and vendors count."""


class EmbedForm:
    """An answer of vectors as one message."""

    def __init__(self, embedding: Embedding) -> None:
        self._embedding = embedding

    def piece(self, run: Run, piece: Piece) -> None:
        """There is none."""

    def last(self, run: Run, finished: Finished) -> pb.EmbedResponse:
        """The whole answer."""
        response = pb.EmbedResponse(embeddings=self._embedding.vectors[finished.attempt.number])
        fill_pb_outcome(response.outcome, run, finished)
        return response

    def encode(self, part: pb.EmbedResponse) -> bytes:
        """The message as bytes."""
        return part.SerializeToString()

    def decode(self, content: bytes) -> pb.EmbedResponse:
        """The message of such bytes."""
        return pb.EmbedResponse.FromString(content)

    def from_cache(self, part: pb.EmbedResponse, record: DecisionRecord) -> pb.EmbedResponse:
        """Vectors are not cached by projects: they come as they are."""
        return part

    def cost_nanos(self, last: pb.EmbedResponse) -> int | None:
        """What the answer cost."""
        return last.outcome.cost.nanos if last.outcome.HasField("cost") else None

    def is_whole(self, last: pb.EmbedResponse) -> bool:
        """Vectors come whole or not at all."""
        return True
