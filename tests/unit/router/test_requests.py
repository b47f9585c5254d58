"""What applications may say of their requests."""

import pytest

from services.kernel.errors import InvalidRequest
from services.router.convert_requests import from_pb_generate
from turnpike.common.v1 import content_pb2
from turnpike.router.v1 import router_pb2


def asked(metadata: dict[str, str]) -> router_pb2.GenerateRequest:
    message = content_pb2.Message(
        role=content_pb2.ROLE_USER,
        parts=[content_pb2.Part(text=content_pb2.TextPart(text="Hello"))],
    )
    return router_pb2.GenerateRequest(
        input=content_pb2.GenerationInput(messages=[message]), metadata=metadata
    )


def test_metadata_are_kept_as_they_are_said() -> None:
    said = {"feature": "suche", "Größe": "klein, \u00a0fein"}
    assert from_pb_generate(asked(said), streamed=False).metadata == said


@pytest.mark.parametrize("wrong", [{"x": "a\0b"}, {"a\0b": "x"}, {"x": "a\nb"}])
def test_metadata_that_no_report_could_show_are_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(InvalidRequest) as refused:
        from_pb_generate(asked(wrong), streamed=False)
    assert [violation.field for violation in refused.value.violations] == ["metadata"]
