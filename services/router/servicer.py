"""RouterService: from the wire to the use cases and back."""

from typing import Any

from services.kernel.errors import InvalidRequest, PermissionDenied
from services.router.convert_decision import to_pb_decision
from services.router.convert_embed import EmbedForm, from_pb_embed
from services.router.convert_models import to_pb_models
from services.router.convert_outcome import StreamForm, UnaryForm
from services.router.convert_replay import to_pb_replay
from services.router.convert_requests import from_pb_feedback, from_pb_generate
from services.router.use_cases.application import Application
from services.router.use_cases.feedback import Learn
from services.router.use_cases.forms import nowhere
from services.router.use_cases.replays import Replays
from turnpike.router.v1 import router_pb2 as pb
from turnpike.router.v1 import router_pb2_grpc


class RouterServicer(router_pb2_grpc.RouterServiceServicer):
    """What applications call."""

    def __init__(self, application: Application, learn: Learn, replays: Replays) -> None:
        self._application = application
        self._learn = learn
        self._replays = replays

    async def Generate(self, request: pb.GenerateRequest, context: object) -> pb.GenerateResponse:
        """Answers a conversation with one model's answer."""
        asked = from_pb_generate(request, streamed=False)
        return await self._application.answer(asked, UnaryForm(), nowhere)

    async def StreamGenerate(self, request: pb.StreamGenerateRequest, context: Any) -> None:  # type: ignore[override]
        """Answers as the model speaks."""
        asked = from_pb_generate(request.request, streamed=True)
        await context.write(await self._application.answer(asked, StreamForm(), context.write))

    async def Embed(self, request: pb.EmbedRequest, context: object) -> pb.EmbedResponse:
        """Turns texts into vectors."""
        embedding = from_pb_embed(request)
        return await self._application.embed(embedding, EmbedForm(embedding))

    async def PreviewRoute(self, request: pb.PreviewRouteRequest, context: object) -> pb.PreviewRouteResponse:
        """Decides as Generate would, explains, and calls nobody."""
        if request.policy_yaml:
            raise PermissionDenied("an admin token, by RouterAdminService.DecideStored")
        record = self._application.preview(from_pb_generate(request.request, streamed=False))
        return pb.PreviewRouteResponse(decision=to_pb_decision(record))

    async def ListModels(self, request: pb.ListModelsRequest, context: object) -> pb.ListModelsResponse:
        """Lists what the key may use."""
        return to_pb_models(self._application.models(), request)

    async def GetDecision(self, request: pb.GetDecisionRequest, context: object) -> pb.GetDecisionResponse:
        """Returns a decision that was made."""
        if request.WhichOneof("name") is None:
            raise InvalidRequest.of("name", "is required: a decision_id or a request_id")
        decision = await self._application.decision(
            decision_id=request.decision_id, request_id=request.request_id
        )
        if not request.replay:
            return pb.GetDecisionResponse(decision=decision)
        replay = await self._replays.again(
            to_pb_replay, decision_id=request.decision_id, request_id=request.request_id
        )
        replay.decision.CopyFrom(decision)
        return replay

    async def SubmitFeedback(
        self, request: pb.SubmitFeedbackRequest, context: object
    ) -> pb.SubmitFeedbackResponse:
        """Takes what was found of an answer."""
        verdict, content_hash = from_pb_feedback(request)
        await self._learn.submit(request.feedback_id, content_hash, request.decision_id, verdict)
        return pb.SubmitFeedbackResponse()
