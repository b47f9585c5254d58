"""`turnpike route explain`: why a request went where it went, or would go, so that a person sees it at once."""

import asyncio
import math

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from services.chassis.channel import connect
from services.cli.reach import reach_router
from services.cli.words import dollars, seconds
from services.kernel.errors import TurnpikeError
from turnpike.common.v1 import content_pb2, error_pb2
from turnpike.router.v1 import decision_pb2, router_pb2
from turnpike.router.v1.router_pb2_grpc import RouterServiceStub

RPC_TIMEOUT_S = 5.0
TASKS_SHOWN = 3
MODELS_NAMED = 4


@click.command()
@click.argument("name", required=False)
@click.option("--prompt", help="Explain what would happen to this question; nobody is called.")
@click.option("--model", default="", help='With --prompt: "provider/model", an alias, or "auto".')
@click.option("--replay", is_flag=True, help="Decide again from the same snapshots and compare.")
@click.option("--address", envvar="TURNPIKE_ADDRESS", help="Router to ask.  [default: the local stack's]")
@click.option("--key", envvar="TURNPIKE_KEY", help="Key to ask with.  [default: the demo's]")
def explain(
    name: str | None, prompt: str | None, model: str, replay: bool, address: str | None, key: str | None
) -> None:
    """Explain a decision: its candidates, what dropped the others, the pick, the attempts.

    NAME is a decision's id (dec_…) or the request's.
    """
    if (name is None) == (prompt is None):
        raise click.UsageError("say which decision, or a --prompt to try")
    reached = reach_router(address, key)
    try:
        asyncio.run(_explain(reached.address, reached.secret, name or "", prompt, model, replay=replay))
    except TurnpikeError as error:
        raise click.ClickException(f"{error.reason}  {error.message}") from error


async def _explain(
    address: str, key: str, name: str, prompt: str | None, model: str, *, replay: bool
) -> None:
    console = Console()
    async with connect("router", address, token=key) as router:
        stub = RouterServiceStub(router.channel)
        if prompt is not None:
            preview = router_pb2.PreviewRouteRequest(request=_question(prompt, model))
            answer = await router.unary(stub.PreviewRoute, preview, timeout_s=RPC_TIMEOUT_S)
            show_decision(console, answer.decision)
            return
        request = router_pb2.GetDecisionRequest(replay=replay)
        if name.startswith("dec_"):
            request.decision_id = name
        else:
            request.request_id = name
        found = await router.unary(stub.GetDecision, request, timeout_s=RPC_TIMEOUT_S)
        show_decision(console, found.decision)
        if replay:
            console.print(
                "[green]decided again: identical[/]"
                if found.identical
                else "[red]decided again: different[/]"
            )
            for difference in found.differences:
                console.print(f"  {difference}", markup=False, highlight=False)


def _question(prompt: str, model: str) -> router_pb2.GenerateRequest:
    part = content_pb2.Part(text=content_pb2.TextPart(text=prompt))
    message = content_pb2.Message(role=content_pb2.ROLE_USER, parts=[part])
    return router_pb2.GenerateRequest(model=model, input=content_pb2.GenerationInput(messages=[message]))


def show_decision(console: Console, decision: decision_pb2.Decision) -> None:
    """Prints a decision: the pick and why, what was known, the candidates, the attempts."""
    strategy = decision_pb2.Strategy.Name(decision.strategy).removeprefix("STRATEGY_").lower()
    console.print(Text(decision.reason, style="bold"), soft_wrap=True)
    known = [f"asked for {decision.requested_model}", f"strategy {strategy}", f"seed {decision.seed}"]
    known.append(f"policy {decision.versions.policy or 'built-in'}")
    console.print(Text(" · ".join(known), style="dim"), soft_wrap=True)
    console.print(Text(" · ".join(_features(decision)), style="dim"), soft_wrap=True)
    if decision.shadow_plan_first and decision.shadow_plan_first not in decision.plan[:1]:
        console.print(f"the policy in shadow would have chosen {decision.shadow_plan_first}")
    if decision.HasField("cascade"):
        ended = f"; it cost {dollars(decision.cost.nanos)} in the end" if decision.HasField("cost") else ""
        console.print(Text(_cascade(decision.cascade) + ended, style="dim"), soft_wrap=True)
    console.print()
    console.print(_candidates(decision))
    for line in _basis(decision):
        console.print(Text(line, style="dim"), soft_wrap=True)
    if decision.attempts:
        console.print(_attempts(decision))


def _features(decision: decision_pb2.Decision) -> list[str]:
    features = decision.features
    facts = [
        f"about {features.input_tokens_estimate:,} tokens in",
        f"at most {decision.max_output_tokens:,} out",
    ]
    for count, word in (
        (features.images, "pictures"),
        (features.audios, "sounds"),
        (features.files, "documents"),
        (features.tools, "tools"),
    ):
        if count:
            facts.append(f"{count} {word}")
    if features.json_schema:
        facts.append("a schema")
    if features.language:
        facts.append(f"in {features.language}")
    if features.data_class:
        facts.append(f"data {features.data_class}")
    believed = [
        f"{task.task} {task.probability:.0%}"
        for task in decision.task_belief[:TASKS_SHOWN]
        if task.probability >= 0.05
    ]
    return [*facts, "task: " + ", ".join(believed)]


def _cascade(cascade: decision_pb2.Cascade) -> str:
    """Both roads in one line."""
    figures = ""
    if cascade.HasField("direct_cost"):
        figures = (
            f"; expected {dollars(cascade.cascade_cost.nanos)} at quality {cascade.cascade_quality:.2f}"
            f" against {dollars(cascade.direct_cost.nanos)} at {cascade.direct_quality:.2f} of {cascade.strong_model}"
        )
    return f"cascade {'used' if cascade.used else 'not used'}: {cascade.reason}{figures}"


def _candidates(decision: decision_pb2.Decision) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("")
    table.add_column("model", no_wrap=True)
    for heading in ("utility", "quality", "cost", "first token", "worst case"):
        table.add_column(heading, justify="right")
    table.add_column("why not", overflow="fold")
    places = {name: place for place, name in reversed(list(enumerate(decision.plan, 1)))}
    for candidate in decision.candidates:
        dropped = bool(candidate.excluded_by)
        estimates = candidate.estimates
        place = "" if dropped else str(places.get(candidate.model, ""))
        quality = "unknown"
        if estimates.HasField("quality"):
            quality = f"{estimates.quality:.2f} ({estimates.quality_low:.2f} to {estimates.quality_high:.2f})"
        why = f"{candidate.excluded_by}: {candidate.excluded_reason}" if dropped else ""
        if candidate.breaker == "half_open":
            why = "its breaker is half open"
        table.add_row(
            place,
            candidate.model,
            "" if dropped or not math.isfinite(candidate.utility) else f"{candidate.utility:.3f}",
            quality,
            dollars(estimates.cost.nanos) if estimates.HasField("cost") else "unknown",
            seconds(estimates.time_to_first_token.ToTimedelta()),
            dollars(candidate.worst_case.nanos) if candidate.HasField("worst_case") else "unknown",
            why,
            style="dim" if dropped else "bold" if place == "1" else "",
        )
    return table


def _basis(decision: decision_pb2.Decision) -> list[str]:
    """Where the qualities come from, a line for each different answer."""
    models: dict[str, list[str]] = {}
    for candidate in decision.candidates:
        told = candidate.estimates
        sources = [source for source in told.quality_sources if source != "outcomes"]
        if told.prior_outcomes:
            sets = f" of {', '.join(told.prior_sets)}" if told.prior_sets else ""
            sources.append(f"{told.prior_outcomes:,} recorded outcomes{sets}")
        if told.own_outcomes > 0:
            before = f", {told.shipped_quality:.2f} before" if told.HasField("shipped_quality") else ""
            sources.append(f"your own outcomes (weighing {told.own_outcomes:.1f}{before})")
        if sources:
            models.setdefault(" + ".join(sources), []).append(candidate.model)
    return [
        f"quality from {basis}: {', '.join(dict.fromkeys(names[:MODELS_NAMED]))}"
        + (f" and {len(names) - MODELS_NAMED} more" if len(names) > MODELS_NAMED else "")
        for basis, names in models.items()
    ]


def _attempts(decision: decision_pb2.Decision) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", title_justify="left")
    for heading in ("attempt", "model", "held", "cost", "took", "what happened"):
        table.add_column(heading, overflow="fold")
    for attempt in decision.attempts:
        happened = "answered"
        if attempt.failure:
            reason = error_pb2.ErrorReason.Name(attempt.failure).removeprefix("ERROR_REASON_")
            happened = f"{reason}: {attempt.message}"
        elif attempt.verdict:
            happened = f"answered; checked: {attempt.verdict}"
        table.add_row(
            f"{attempt.attempt} ({attempt.purpose})",
            attempt.model,
            dollars(attempt.held.nanos),
            (dollars(attempt.cost.nanos) if attempt.HasField("cost") else "not settled")
            + (" unconfirmed" if attempt.unconfirmed else ""),
            seconds(attempt.duration.ToTimedelta()),
            happened,
        )
    return table
