"""Asks language models through Turnpike.

    from turnpike_client import Turnpike

    with Turnpike("127.0.0.1:50051", key="tpk_…") as turnpike:
        print(turnpike.generate("Why do toll roads exist?").text)

        with turnpike.stream("And who pays?") as answer:
            for text in answer:
                print(text, end="", flush=True)
        print(answer.outcome.model, answer.cost_usd)

`AsyncTurnpike` is the same for asyncio. Every failure is a `TurnpikeError` that knows its reason and facts; a request
keeps its id when it is sent again, so a repetition is never paid for twice. Where these few arguments do not reach,
pass a `turnpike.router.v1.router_pb2.GenerateRequest` instead of a text.
"""

from turnpike_client.answer import Answer
from turnpike_client.asynchronous import AsyncTurnpike
from turnpike_client.errors import (
    BudgetExhausted,
    DeadlineExceeded,
    InvalidRequest,
    NotAuthenticated,
    NotFound,
    NotPermitted,
    RateLimited,
    TurnpikeError,
    Unavailable,
)
from turnpike_client.synchronous import Turnpike

__all__ = [
    "Answer",
    "AsyncTurnpike",
    "BudgetExhausted",
    "DeadlineExceeded",
    "InvalidRequest",
    "NotAuthenticated",
    "NotFound",
    "NotPermitted",
    "RateLimited",
    "Turnpike",
    "TurnpikeError",
    "Unavailable",
]
