"""Turns a few plain arguments into the contract's request."""

import uuid
from collections.abc import Mapping, Sequence
from typing import Literal, TypedDict

from turnpike.common.v1 import content_pb2
from turnpike.router.v1 import decision_pb2, router_pb2

Strategy = Literal["cost", "latency", "capability", "balanced"]
Prompt = str | Sequence[content_pb2.Message] | router_pb2.GenerateRequest
"""A text, a conversation, or the contract's own request, to which nothing is then added but an id."""


class Options(TypedDict, total=False):
    """What may be said beside the prompt. What is left out follows the project's policy."""

    model: str
    """"provider/model", an alias, or "auto" (as if left out)."""
    system: str
    """Instructions, before the conversation."""
    max_output_tokens: int
    temperature: float
    stop: Sequence[str]
    strategy: Strategy
    allow_models: Sequence[str]
    deny_models: Sequence[str]
    task: str
    metadata: Mapping[str, str]
    user: str
    request_id: str
    """The same again is the same request. Left out: a new one."""


def user(text: str) -> content_pb2.Message:
    """Return a turn of the user's."""
    return _turn(content_pb2.ROLE_USER, text)


def assistant(text: str) -> content_pb2.Message:
    """Return a turn of the model's."""
    return _turn(content_pb2.ROLE_ASSISTANT, text)


def build(prompt: Prompt, options: Options) -> router_pb2.GenerateRequest:
    """Make the request; one without an id gets one, so that it can be sent again safely."""
    if isinstance(prompt, router_pb2.GenerateRequest):
        request = router_pb2.GenerateRequest()
        request.CopyFrom(prompt)
        request.request_id = request.request_id or options.get("request_id") or new_id()
        return request
    messages = [user(prompt)] if isinstance(prompt, str) else list(prompt)
    if system := options.get("system"):
        messages.insert(0, _turn(content_pb2.ROLE_SYSTEM, system))
    request = router_pb2.GenerateRequest(
        request_id=options.get("request_id") or new_id(),
        model=options.get("model", ""),
        input=content_pb2.GenerationInput(
            messages=messages,
            max_output_tokens=options.get("max_output_tokens"),
            stop=options.get("stop", ()),
        ),
        metadata=options.get("metadata", {}),
        user=options.get("user", ""),
    )
    if "temperature" in options:
        request.input.sampling.temperature = options["temperature"]
    if routing := _routing(options):
        request.routing.CopyFrom(routing)
    return request


def new_id() -> str:
    """Return an id that no other request has."""
    return uuid.uuid4().hex


def _routing(options: Options) -> router_pb2.RoutingPreferences | None:
    if not options.keys() & {"strategy", "allow_models", "deny_models", "task"}:
        return None
    strategy = options.get("strategy", "unspecified")
    return router_pb2.RoutingPreferences(
        strategy=decision_pb2.Strategy.Value(f"STRATEGY_{strategy.upper()}"),
        allow_models=options.get("allow_models", ()),
        deny_models=options.get("deny_models", ()),
        task=options.get("task", ""),
    )


def _turn(role: content_pb2.Role.ValueType, text: str) -> content_pb2.Message:
    return content_pb2.Message(role=role, parts=[content_pb2.Part(text=content_pb2.TextPart(text=text))])
