"""Recorded answers with fields taken out, nulled or added: an adapter answers or fails typed, and never otherwise."""

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

import pytest

from services.providers.adapters.registry import vendors
from services.providers.domain.failure import AttemptError
from tests.contract.providers.replay.exchange import in_process
from tests.contract.providers.replay.recording import SUPPORTED, Recording, load
from tests.support.recordings import FOLDER, WHY_MISSING, available

MUTATIONS = 150
SEEDS = range(8)


@pytest.fixture(scope="module")
def recordings() -> list[Recording]:
    """Answers in JSON or as events of JSON."""
    return [
        recording
        for recording in load(FOLDER)
        if recording.family in SUPPORTED
        and recording.status == 200
        and recording.family != "count-tokens"
        and "embed" not in recording.family
        and not recording.data["response"].get("body_base64")
    ]


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something is in a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield (*path, key)
        yield from paths(item, (*path, key))


def mutated(value: Any, chosen: random.Random) -> Any:
    """The value with one thing missing, null, new or of another kind."""
    changed = copy.deepcopy(value)
    everywhere = list(paths(changed))
    if not everywhere:
        return changed
    path = chosen.choice(everywhere)
    around = changed
    for key in path[:-1]:
        around = around[key]
    match chosen.choice(("drop", "null", "other", "new")):
        case "drop":
            del around[path[-1]]
        case "null":
            around[path[-1]] = None
        case "other":
            around[path[-1]] = chosen.choice(["text", 7, -1, 1.5, True, [], {}, [None], {"a": None}, 1 << 70])
        case _ if isinstance(around, dict):
            around["of_tomorrow"] = {"a": [1, None]}
        case _:
            around.append({"type": "of_tomorrow"})
    return changed


def with_mutation(recording: Recording, chosen: random.Random) -> Recording | None:
    """The recording with one of its JSON objects mutated; None if that one is none."""
    data = copy.deepcopy(recording.data)
    body = data["response"]["body"] or ""
    try:
        data["response"]["body"] = json.dumps(mutated(json.loads(body), chosen))
    except ValueError:
        end = "\r\n" if "\r\n" in body else "\n"
        lines = body.split(end)
        events = [number for number, line in enumerate(lines) if "{" in line]
        number = chosen.choice(events)
        prefix, _, text = lines[number].partition("{")
        try:
            lines[number] = prefix + json.dumps(mutated(json.loads("{" + text), chosen))
        except ValueError:
            return None
        data["response"]["body"] = end.join(lines)
    return Recording(recording.name, data)


@pytest.mark.skipif(not available(), reason=WHY_MISSING)
@pytest.mark.parametrize("seed", SEEDS)
def test_a_mutated_answer_is_read_or_refused(seed: int, recordings: list[Recording]) -> None:
    chosen = random.Random(seed)
    for _ in range(MUTATIONS):
        recording = with_mutation(chosen.choice(recordings), chosen)
        if recording is None:
            continue
        assert recording.wire_format is not None
        try:
            if recording.streamed:
                in_process(recording, iter([recording.body]))
            else:
                recording.wire_format.parse_response(recording.headers, recording.body)
        except AttemptError:
            continue
        except Exception as error:
            error.add_note(f"in {recording.name} with {recording.body[:2000]!r}")
            raise


STRANGE_BODIES = [
    b"",
    b"null",
    b"[]",
    b'"text"',
    b"7",
    b"<html>502</html>",
    b"\xff\xfe",
    b'{"error": null}',
    b'{"error": [1]}',
    b'{"error": {"code": null, "message": 7}}',
    b'{"detail": [{"loc": null, "msg": 1}]}',
    b'[{"error": {"code": 400}}]',
    b'{"error": {"details": [null, 7, {"@type": 5}]}}',
]


@pytest.mark.parametrize("body", STRANGE_BODIES)
@pytest.mark.parametrize("status", [400, 401, 429, 500, 529])
def test_any_error_body_is_an_error_with_a_class(status: int, body: bytes) -> None:
    for vendor in vendors().values():
        for wire_format in vendor.formats.values():
            failure = wire_format.parse_error(status, {}, body).failure
            assert failure.reason
            assert failure.retry
            assert failure.message
