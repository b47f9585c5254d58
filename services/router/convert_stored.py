"""Reads decision records back into what was asked, so that they can be decided again under other rules."""

from services.kernel.pricing import Usage
from services.router.convert_inputs import from_pb_features
from services.router.domain.access import Caller
from services.router.domain.catalogue import Capability
from services.router.domain.features import Features, Priority, Wishes
from services.router.use_cases.resimulate import Past
from services.router.use_cases.route import Subject
from turnpike.router.v1 import decision_pb2 as pb


def from_pb_past(decision: pb.Decision) -> Past:
    """What was asked, where it went and what it cost."""
    answered = [attempt for attempt in decision.attempts if not attempt.failure]
    usage = answered[-1].usage if answered and answered[-1].HasField("usage") else None
    return Past(
        subject=_subject(decision),
        seed=decision.seed,
        model=answered[-1].model if answered else "",
        cost_nanos=decision.cost.nanos if decision.HasField("cost") else None,
        usage=Usage(usage.input_tokens, usage.output_tokens)
        if usage is not None and usage.HasField("input_tokens") and usage.HasField("output_tokens")
        else None,
        team_id=decision.principal.team_id,
        project_id=decision.principal.project_id,
    )


def _subject(decision: pb.Decision) -> Subject:
    principal, features = decision.principal, decision.features
    caller = Caller(
        principal.organisation_id,
        principal.team_id,
        principal.project_id,
        principal.key_id,
        principal.user_id,
    )
    wishes = Wishes(
        model=decision.requested_model,
        priority=Priority.BACKGROUND if decision.priority == pb.PRIORITY_BACKGROUND else Priority.INTERACTIVE,
        task=features.declared_task,
        route=features.route,
        data_class=features.data_class,
    )
    belief = {task.task: task.probability for task in decision.task_belief} or {"unknown": 1.0}
    likeliest = max(belief, key=belief.__getitem__)
    return Subject(caller, wishes, _features(decision), belief, features.declared_task or likeliest)


def _features(decision: pb.Decision) -> Features:
    """The recorded features. Where it was not recorded what a model must be able to do follows from them."""
    if decision.HasField("inputs"):
        return from_pb_features(decision)
    features = decision.features
    needs = Capability(0)
    for asked, capability in (
        (decision.streamed, Capability.STREAMING),
        (bool(features.system_prompt_hash), Capability.SYSTEM_MESSAGES),
        (features.tools > 0, Capability.TOOLS),
        (features.json_schema, Capability.JSON_SCHEMA),
        (features.images > 0, Capability.IMAGE_INPUT),
        (features.audios > 0, Capability.AUDIO_INPUT),
        (features.files > 0, Capability.FILE_INPUT),
    ):
        if asked:
            needs |= capability
    return Features(
        input_tokens_bound=features.input_tokens_bound,
        input_tokens_estimate=features.input_tokens_estimate,
        text_bytes=features.text_bytes,
        images=features.images,
        audios=features.audios,
        files=features.files,
        tools=features.tools,
        turns=features.turns,
        json_schema=features.json_schema,
        code=features.code,
        language=features.language,
        system_prompt_hash=features.system_prompt_hash,
        needs=needs,
        output_cap_asked=decision.max_output_tokens or None,
        output_tokens_hint=features.output_tokens_estimate or None,
    )
