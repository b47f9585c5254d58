"""What a decision was made from, on the wire, and the question that it answers made again from it."""

from collections.abc import Mapping

from services.router.domain.catalogue import Capability, ModelKind
from services.router.domain.constraints import Headroom
from services.router.domain.estimates import Kept
from services.router.domain.features import Features
from services.router.domain.plan import Question
from services.router.domain.snapshots import Boards, Names, Taken, restored
from turnpike.router.v1 import decision_pb2 as pb


def fill_pb_inputs(message: pb.DecisionInputs, question: Question, taken: Taken) -> None:
    """What belongs to this question alone, and the names of the rest."""
    features = question.features
    message.board = taken.board.snapshot_id
    message.weather = taken.weather.snapshot_id
    message.terms = taken.terms.snapshot_id
    message.estimates = taken.estimates.snapshot_id
    if taken.outcomes is not None:
        message.outcomes = taken.outcomes.snapshot_id
    message.now_s = question.now_s
    if question.quality_min is not None:
        message.quality_min = question.quality_min
    if question.input_bounds:
        message.input_bounds.extend(question.input_bounds)
    if question.longest_bounds:
        message.longest_bounds.extend(question.longest_bounds)
    message.pressure = question.pressure
    if question.avoid:
        message.avoid.extend(sorted(question.avoid))
    for room in question.headroom:
        message.headroom.add(
            model_scope=room.model_scope, display_name=room.display_name, nanos=room.nanos, tokens=room.tokens
        )
    message.needs = int(features.needs)
    message.embedding = features.kind is ModelKind.EMBEDDING
    if features.parameters:
        message.parameters.extend(sorted(features.parameters))
    message.drops_unsupported = features.drops_unsupported
    message.reasoning_effort = features.reasoning_effort
    message.choices = features.choices
    if features.output_cap_asked is not None:
        message.output_cap_asked = features.output_cap_asked
    message.vendor_files_of = features.vendor_files_of
    if features.longest_text_bound is not None:
        message.longest_text_bound = features.longest_text_bound
    message.cache_markers = features.cache_markers
    message.cache_markers_long = features.cache_markers_long


def from_pb_question(
    decision: pb.Decision, contents: Mapping[bytes, bytes], boards: Boards | None = None
) -> Question:
    """The question that a record answers. Raises KeyError if a snapshot is missing, CodecError if one is damaged.

    Takes some ten milliseconds at a few hundred endpoints, or one where `boards` remembers the board.
    """
    inputs = decision.inputs
    names = Names(inputs.board, inputs.weather, inputs.terms, inputs.estimates, inputs.outcomes)
    found = restored(names, contents, decision.versions.statistics, boards or Boards())
    told = {task.task: task.probability for task in decision.task_belief}
    return Question(
        board=found.board,
        weather=found.weather,
        standing=found.standing,
        rules=found.rules,
        features=from_pb_features(decision),
        estimator=Kept(decision.versions.prior, found.tables),
        seed=decision.seed,
        now_s=inputs.now_s,
        asked=decision.requested_model,
        shares=found.shares,
        belief={task: told[task] for task in found.tables.tasks},  # in the order in which it was summed
        quality_min=inputs.quality_min if inputs.HasField("quality_min") else None,
        input_bounds=tuple(inputs.input_bounds),
        longest_bounds=tuple(inputs.longest_bounds),
        headroom=tuple(
            Headroom(
                room.model_scope,
                room.display_name,
                room.nanos if room.HasField("nanos") else None,
                room.tokens if room.HasField("tokens") else None,
            )
            for room in inputs.headroom
        ),
        pressure=inputs.pressure,
        avoid=frozenset(inputs.avoid),
    )


def from_pb_features(decision: pb.Decision) -> Features:
    """The features of a record that has its inputs."""
    told, inputs = decision.features, decision.inputs
    return Features(
        input_tokens_bound=told.input_tokens_bound,
        input_tokens_estimate=told.input_tokens_estimate,
        text_bytes=told.text_bytes,
        images=told.images,
        audios=told.audios,
        files=told.files,
        tools=told.tools,
        turns=told.turns,
        json_schema=told.json_schema,
        code=told.code,
        language=told.language,
        system_prompt_hash=told.system_prompt_hash,
        needs=Capability(inputs.needs),
        kind=ModelKind.EMBEDDING if inputs.embedding else ModelKind.CHAT,
        parameters=frozenset(inputs.parameters),
        drops_unsupported=inputs.drops_unsupported,
        reasoning_effort=inputs.reasoning_effort,
        choices=inputs.choices,
        output_cap_asked=inputs.output_cap_asked if inputs.HasField("output_cap_asked") else None,
        output_tokens_hint=told.output_tokens_estimate or None,
        vendor_files_of=inputs.vendor_files_of,
        longest_text_bound=inputs.longest_text_bound if inputs.HasField("longest_text_bound") else None,
        cache_markers=inputs.cache_markers,
        cache_markers_long=inputs.cache_markers_long,
    )
