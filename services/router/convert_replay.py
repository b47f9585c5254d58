"""A record decided again, on the wire, and what sets it apart from what was recorded."""

from typing import Final, Literal, get_args

from services.router.convert_decision import fill_pb_decided, to_pb_candidates
from services.router.convert_table import fill_pb_table
from services.router.domain import explain
from services.router.domain.plan import Decision
from turnpike.router.v1 import decision_pb2 as pb
from turnpike.router.v1 import router_pb2

Decided = Literal[
    "requested_model",
    "task_belief",
    "strategy",
    "priority",
    "weights",
    "plan",
    "reason",
    "versions",
    "seed",
    "max_output_tokens",
    "propensity",
    "cascade",
    "candidate_table",
]

DECIDED: Final[tuple[Decided, ...]] = get_args(Decided)
"""Fields of a record that follow from the decision alone; the others are what was asked and what came of it."""


def to_pb_replay(recorded: pb.Decision, again: Decision) -> router_pb2.GetDecisionResponse:
    """A record made again, and what sets both apart."""
    packed = to_pb_again(recorded, again)
    found = differences(recorded, packed)
    return router_pb2.GetDecisionResponse(
        replayed=shown(packed, again), identical=not found, differences=found
    )


def to_pb_again(recorded: pb.Decision, again: Decision) -> pb.Decision:
    """A record with what is decided now in place of what was, its candidates by columns."""
    message = pb.Decision()
    message.CopyFrom(recorded)
    for name in DECIDED:
        message.ClearField(name)
    fill_pb_decided(message, again, explain.reason(again))
    fill_pb_table(message, again)
    return message


def shown(packed: pb.Decision, decision: Decision) -> pb.Decision:
    """A record with its candidates as rows, for people."""
    message = pb.Decision()
    message.CopyFrom(packed)
    message.ClearField("candidate_table")
    message.candidates.extend(to_pb_candidates(decision))
    return message


def differences(recorded: pb.Decision, again: pb.Decision) -> list[str]:
    """What differs between two records of one decision, to the last bit, a sentence each; none: they are identical."""
    then, now = recorded.versions.engine, again.versions.engine
    found = [f"Engine {then} made it, engine {now} makes it again."] if then != now else []
    for name in DECIDED:
        if name == "versions" and then != now:
            continue
        one, other = _only(recorded, name), _only(again, name)
        if one.SerializeToString(deterministic=True) == other.SerializeToString(deterministic=True):
            continue
        if name == "candidate_table":
            found.append(f"Of the candidates, {', '.join(_columns(one, other))} differ.")
        else:
            found.append(f"The field {name} differs.")
    return found


def _only(message: pb.Decision, name: Decided) -> pb.Decision:
    found = pb.Decision()
    value = getattr(message, name)
    if isinstance(value, int | str | float):
        if message.DESCRIPTOR.fields_by_name[name].has_presence and not message.HasField(name):  # type: ignore[arg-type]
            return found
        setattr(found, name, value)
    elif hasattr(value, "CopyFrom"):
        if message.HasField(name):  # type: ignore[arg-type]
            getattr(found, name).CopyFrom(value)
    else:
        getattr(found, name).extend(value)
    return found


def _columns(one: pb.Decision, other: pb.Decision) -> list[str]:
    """The columns that differ; compared as text, for an unknown number is not equal to itself."""
    tables = (one.candidate_table, other.candidate_table)
    names = [field.name for field in pb.CandidateTable.DESCRIPTOR.fields]
    return [name for name in names if len({str(getattr(table, name)) for table in tables}) > 1]
