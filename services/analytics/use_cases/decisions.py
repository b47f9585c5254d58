"""Keeps decision records and finds them again."""

from collections.abc import Sequence

from services.analytics.domain.decisions import DecisionRecord, Snapshot
from services.analytics.domain.queries import DecisionQuery
from services.analytics.ports import DecisionStore
from services.kernel.errors import NotFound
from services.kernel.pages import key_time, page_key, page_token


class Decisions:
    """Decision records: recorded at least once, kept once."""

    def __init__(self, store: DecisionStore) -> None:
        self._store = store

    async def record(self, records: Sequence[DecisionRecord], snapshots: Sequence[Snapshot] = ()) -> int:
        """Keeps records, and the snapshots that they name; how many of them were new."""
        return await self._store.store(records, snapshots) if records else 0

    async def snapshots(self, snapshot_ids: Sequence[bytes]) -> list[Snapshot]:
        """Those of the snapshots that are still kept."""
        return await self._store.snapshots(snapshot_ids) if snapshot_ids else []

    async def list(self, query: DecisionQuery, token: str) -> tuple[list[DecisionRecord], str]:
        """A page of records, newest first, and the token of the next."""
        key = page_key(token, 2)
        after = None if key is None else (key_time(key[0]), key[1])
        found = await self._store.list(query, after)
        full = len(found) == query.rows
        return found, page_token((found[-1].decided_at.isoformat(), found[-1].decision_id)) if full else ""

    async def get(self, organisation_id: str, team_id: str, *, decision_id: str, request_id: str) -> bytes:
        """One record, by its id or, if that is empty, the newest of a request; raises NotFound."""
        if decision_id:
            found = await self._store.by_id(organisation_id, decision_id, team_id)
        else:
            found = await self._store.by_request(organisation_id, request_id, team_id)
        if found is None:
            raise NotFound("decision", decision_id or request_id)
        return found
