"""The directory on the wire."""

from collections.abc import Iterator

from google.protobuf.message import Message

from services.budget.convert_entities import to_pb_entity, to_pb_timestamp
from services.budget.convert_prices import to_pb_price_entry
from services.budget.domain.directory import (
    DirectoryChange,
    DirectoryEntries,
    DirectoryHeartbeat,
    DirectoryKey,
    DirectoryMessage,
    DirectorySnapshot,
)
from turnpike.budget.v1 import budget_pb2 as pb
from turnpike.budget.v1 import entities_pb2
from turnpike.common.v1.principal_pb2 import Principal

# A message of so many entries is some hundred kilobytes: well below what a reader takes.
PART_ENTRIES = 1000


def to_pb_directory(message: DirectoryMessage) -> Iterator[pb.WatchDirectoryResponse]:
    """A message of the directory; a large one comes in parts, of which the last one completes it."""
    match message:
        case DirectoryHeartbeat(revision):
            yield pb.WatchDirectoryResponse(revision=revision, heartbeat=pb.DirectoryHeartbeat())
        case DirectorySnapshot(revision, entries):
            for part, last in _parts(entries):
                # Cut off before the last part, a reader must not take the revision for one that he has.
                snapshot = pb.DirectorySnapshot(entries=part, complete=last)
                yield pb.WatchDirectoryResponse(revision=revision if last else 0, snapshot=snapshot)
        case DirectoryChange(since, revision, entries, removed):
            for part, last in _parts(entries):
                change = pb.DirectoryChange(entries=part, removed_key_hashes=removed if last else ())
                yield pb.WatchDirectoryResponse(revision=revision if last else since, change=change)


def _parts(entries: DirectoryEntries) -> Iterator[tuple[pb.DirectoryEntries, bool]]:
    part, room = pb.DirectoryEntries(), PART_ENTRIES
    for name, entry in _each(entries):
        if room == 0:
            yield part, False
            part, room = pb.DirectoryEntries(), PART_ENTRIES
        getattr(part, name).append(entry)
        room -= 1
    yield part, True


def _each(entries: DirectoryEntries) -> Iterator[tuple[str, Message]]:
    """Every entry with its field; what a key needs comes before the key."""
    for organisation in entries.organisations:
        yield "organisations", to_pb_entity(organisation, entities_pb2.Organisation)
    for team in entries.teams:
        yield "teams", to_pb_entity(team, entities_pb2.Team)
    for project in entries.projects:
        yield "projects", to_pb_entity(project, entities_pb2.Project)
    for price in entries.prices:
        yield "prices", to_pb_price_entry(price)
    for key in entries.keys:
        yield "keys", to_pb_directory_key(key)


def to_pb_directory_key(key: DirectoryKey) -> pb.DirectoryKey:
    """What a router needs to know of a key."""
    message = pb.DirectoryKey(
        secret_hash=key.secret_hash,
        principal=Principal(
            organisation_id=key.organisation_id,
            team_id=key.team_id,
            project_id=key.project_id,
            key_id=key.key_id,
            user_id=key.user_id or "",
        ),
        permissions=[entities_pb2.KeyPermission.ValueType(permission) for permission in key.permissions],
        disabled=key.disabled,
        model_patterns=key.model_patterns,
    )
    if key.expires_at is not None:
        message.expires_at.CopyFrom(to_pb_timestamp(key.expires_at))
    return message
