"""Every way to fail is documented once, has one status, and is really used."""

import re

from services.kernel.errors import Category, TurnpikeError
from tests.support.house import ROOT, files, listed, subclasses
from turnpike.common.v1.error_pb2 import ErrorReason

PREFIX = "ERROR_REASON_"
PROTO = ROOT / "protos/turnpike/common/v1/error.proto"
NOT_RAISED_YET = ROOT / "tests/meta/reasons_not_raised_yet.txt"
DYNAMIC = {"services.chassis.status.RemoteError"}  # has whatever reason another service gave


def documented() -> dict[str, Category]:
    """The status that the contract gives each reason, from the first word of its comment."""
    found: dict[str, Category] = {}
    comment: list[str] = []
    for line in PROTO.read_text().splitlines():
        text = line.strip()
        if text.startswith("//"):
            comment.append(text[2:].strip())
            continue
        match = re.match(rf"{PREFIX}(\w+) = \d+;", text)
        if match and match[1] != "UNSPECIFIED":
            status = re.match(r"([A-Z_]+)\. ", comment[0])
            assert status, f"{match[1]}: its comment does not begin with its status"
            found[match[1]] = Category[status[1]]
        comment = []
    return found


def test_the_contract_documents_every_reason_with_its_status() -> None:
    names = {value.name.removeprefix(PREFIX) for value in ErrorReason.DESCRIPTOR.values} - {"UNSPECIFIED"}
    assert documented().keys() == names


def test_every_error_class_has_a_documented_reason_and_its_status() -> None:
    known = documented()
    wrong = []
    for error in subclasses(TurnpikeError):
        name = f"{error.__module__}.{error.__qualname__}"
        if name in DYNAMIC or "reason" not in vars(error):
            continue
        reason, category = vars(error)["reason"], getattr(error, "category", None)
        if not isinstance(reason, str):
            continue  # decided by its facts, as RemoteError's is
        if reason not in known:
            wrong.append(f"{name}: {reason} is not in the contract")
        elif isinstance(category, Category) and category is not known[reason]:
            wrong.append(f"{name}: {category.name}, the contract says {known[reason].name}")
    assert not wrong, "\n".join(wrong)


def test_every_reason_is_raised_somewhere_or_listed() -> None:
    text = "\n".join(path.read_text() for path in files("services/**/*.py"))
    unused = {reason for reason in documented() if not re.search(rf"\b({PREFIX})?{reason}\b", text)}
    expected = set(listed(NOT_RAISED_YET))
    assert unused - expected == set(), "nobody raises these; raise them, or list them with the reason"
    assert expected - unused == set(), "these are raised now; take them off the list"
