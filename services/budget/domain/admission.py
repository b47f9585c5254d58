"""Who may hold, which windows count it, and what has no room: everything that is asked before anything moves."""

from collections.abc import Mapping
from dataclasses import replace

from services.budget.domain.budgets import LIMIT_MAX, Mode
from services.budget.domain.counters import Counter, Legs, Path, Slot
from services.budget.domain.entries import Kind, text
from services.budget.domain.moments import NEVER_US, from_us, to_us
from services.budget.domain.operations import HoldAsk
from services.budget.domain.tree import Tree
from services.budget.domain.writing import append
from services.budget.errors import (
    BudgetExhausted,
    PriceUnknown,
    RateLimited,
    RequestCeiling,
    Shortfall,
)
from services.kernel.errors import (
    CredentialsExpired,
    CredentialsInvalid,
    CredentialsRevoked,
    InvalidRequest,
    PermissionDenied,
    PrincipalDisabled,
    TurnpikeError,
)
from services.kernel.money import MoneyOutOfRange
from services.kernel.pricing import Extent, RateUnknown, worst_case_nanos

CONCURRENCY_RETRY_S = 1.0
"""A hint: nobody knows when an open hold will end."""

TIGHT = 4
"""Grants tell what is left where less than a quarter of a limit is."""
NO_SHADOWS: list[str] = []

Wanted = tuple[int, int, int, int, int]
"""What is asked for in each unit, by the unit's number; 0 has none."""


def admitted(tree: Tree, ask: HoldAsk) -> Path:
    """The path of a hold, its key checked and its windows those of now. Raises why the key may not."""
    path = tree.path(ask.terms)
    if path.valid_until_us <= tree.draft.now_us:
        _authorise(tree, ask)
        _roll(tree, path, ask)
    return path


def _authorise(tree: Tree, ask: HoldAsk) -> None:
    config, now, terms = tree.config, from_us(tree.draft.now_us), ask.terms
    if not config.active:
        raise PrincipalDisabled(f"organisation:{tree.organisation_id}")
    key = config.keys.get(terms.key_id)
    if key is None:
        raise CredentialsInvalid("a key of the organisation")
    if key.revoked:
        raise CredentialsRevoked(key.key_id)
    if key.expires_at is not None and key.expires_at <= now:
        raise CredentialsExpired(key.key_id, key.expires_at)
    if key.disabled_subject:
        raise PrincipalDisabled(key.disabled_subject)
    if (terms.team_id, terms.project_id) != (key.team_id, key.project_id):
        raise InvalidRequest.of("terms.principal", f"is not the principal of {key.key_id}")
    if config.user_ids.get(terms.user_id, terms.user_id) != key.user_id and not key.may_act_for_users:
        raise PermissionDenied("a key that may act for users")
    if terms.user_id and terms.user_id in config.disabled_users:
        raise PrincipalDisabled(f"user:{terms.user_id}")
    if terms.metering and not key.may_meter:
        raise PermissionDenied("a key that may meter model calls of its own")
    if not terms.metering and not key.may_generate:
        raise PermissionDenied("a key that may generate")


def _roll(tree: Tree, path: Path, ask: HoldAsk) -> None:
    """Brings the path's windows to now, and writes down those that are new."""
    now_us = tree.draft.now_us
    news: list[tuple[Counter, bool]] = []
    pairs: list[tuple[Slot, Counter]] = []
    for slot in path.slots:
        counter = slot.current
        if counter is None or slot.valid_until_us <= now_us:
            counter, new = tree.roll(slot, now_us)
            if new:
                news.append((counter, new == "limit"))
        pairs.append((slot, counter))
    if news:
        windows = [
            [
                counter.no,
                counter.budget_id,
                counter.unit,
                counter.start_us,
                None if counter.end_us == NEVER_US else counter.end_us,
                counter.limit,
                int(known),
            ]
            for counter, known in news
        ]
        append(tree, Kind.LIMIT, None, "", 0, f'"w":{text(windows)}')
    path.legs = Legs.of([counter for _, counter in pairs])
    path.checks = tuple(
        (unit, tuple((slot, counter) for slot, counter in pairs if slot.refuses and counter.unit == unit))
        for unit in sorted({counter.unit for slot, counter in pairs if slot.refuses})
    )
    path.lenient = tuple((counter.unit, slot, counter) for slot, counter in pairs if not slot.refuses)
    key = tree.config.keys[ask.terms.key_id]
    ends_us = [slot.valid_until_us for slot in path.slots]
    path.valid_until_us = min([*ends_us, NEVER_US if key.expires_at is None else to_us(key.expires_at)])


def worst_case(tree: Tree, model: str, input_tokens: int, output_tokens: int) -> int:
    """The worst case in money by the price book in force. Raises PriceUnknown."""
    price = tree.config.prices.price_of(model, from_us(tree.draft.now_us))
    if price is None:
        raise PriceUnknown(model)
    try:
        return worst_case_nanos(price, Extent(input_tokens, output_tokens))
    except RateUnknown as unknown:
        raise PriceUnknown(model, unknown.rate) from unknown
    except (MoneyOutOfRange, ValueError) as wrong:
        raise InvalidRequest.of("terms", f"cannot be priced: {wrong}") from wrong


def check(tree: Tree, path: Path, wanted: Wanted) -> tuple[list[str], bool]:
    """Raises what has no room for `wanted`, all of it. Returns the budgets in shadow mode that would have refused, and
    whether any budget is tight: less than a share of 1 / TIGHT of its limit is left afterwards."""
    tight = False
    for unit, pairs in path.checks:
        asked = wanted[unit]
        for slot, counter in pairs:
            limit = counter.limit
            left = limit - counter.held - counter.spent - counter.overage - slot.rest - asked
            if left * TIGHT < limit:
                if left < 0:
                    raise refusal(tree, path, wanted)
                tight = True
            elif limit == 0:
                raise refusal(tree, path, wanted)
    if path.ceilings or path.lenient:
        return _check_rest(tree, path, wanted), tight
    return NO_SHADOWS, tight


def check_kept_free(tree: Tree, path: Path, wanted: Wanted, keep_free: Mapping[str, int]) -> None:
    """Raises the rates of which the hold would take what it was told to leave to others."""
    short = []
    for unit, pairs in path.checks:
        for slot, counter in pairs:
            kept = counter.limit * keep_free.get(slot.scope, 0) // 1000
            if slot.is_rate and kept and slot.left(counter) - wanted[unit] < kept:
                found = shortfall(tree.draft.now_us, slot, counter, wanted[unit])
                short.append(replace(found, limit=found.limit - kept))
    if short:
        raise RateLimited(tuple(sorted(short, key=lambda each: each.tightness)))


def _check_rest(tree: Tree, path: Path, wanted: Wanted) -> list[str]:
    if any(slot.refuses and wanted[slot.unit] > slot.budget.limit for slot in path.ceilings):
        raise refusal(tree, path, wanted)
    shadows = [
        slot.budget.budget_id
        for slot in path.ceilings
        if slot.budget.mode is Mode.SHADOW and wanted[slot.unit] > slot.budget.limit
    ]
    for unit, slot, counter in path.lenient:
        if counter.used + wanted[unit] > LIMIT_MAX:  # not a limit of anybody's: what the arithmetic holds
            raise refusal(tree, path, wanted)
        if slot.budget.mode is Mode.SHADOW and slot.left(counter) < wanted[unit]:
            shadows.append(slot.budget.budget_id)
    return shadows


def refusal(tree: Tree, path: Path, wanted: Wanted) -> TurnpikeError:
    """The refusal with every budget that has no room, the tightest first."""
    ceilings = [slot for slot in path.ceilings if slot.refuses and wanted[slot.unit] > slot.budget.limit]
    if ceilings:
        return above_ceiling(ceilings, wanted)
    short = [
        (slot, counter)
        for unit, pairs in path.checks
        for slot, counter in pairs
        if slot.left(counter) < wanted[unit] or counter.limit == 0
    ]
    short += [
        (slot, counter) for unit, slot, counter in path.lenient if counter.used + wanted[unit] > LIMIT_MAX
    ]
    return no_room(tree, [(slot, counter, wanted[counter.unit]) for slot, counter in short])


def above_ceiling(ceilings: list[Slot], wanted: Wanted) -> RequestCeiling:
    """The refusal by ceilings for one request."""
    found = [
        Shortfall(
            budget_id=slot.budget.budget_id,
            display_name=slot.budget.display_name,
            subject=slot.subject,
            model_scope=slot.scope,
            unit=slot.budget.unit,
            limit=slot.budget.limit,
            spent=0,
            held=0,
            overage=0,
            asked=wanted[slot.unit],
            resets_at=None,
        )
        for slot in ceilings
    ]
    return RequestCeiling(tuple(sorted(found, key=lambda each: each.tightness)))


def no_room(tree: Tree, short: list[tuple[Slot, Counter, int]]) -> TurnpikeError:
    """The refusal by these windows of what each was asked for."""
    found = [shortfall(tree.draft.now_us, slot, counter, asked) for slot, counter, asked in short]
    shortfalls = tuple(sorted(found, key=lambda each: each.tightness))
    if all(slot.is_rate for slot, _, _ in short):
        return RateLimited(shortfalls)
    return BudgetExhausted(shortfalls)


def shortfall(now_us: int, slot: Slot, counter: Counter, asked: int) -> Shortfall:
    """One window's refusal in figures; of a rolling one those of all its buckets that count."""
    buckets = slot.buckets(counter)
    newest = buckets[-1]
    resets_us, retry_after_s = _waiting(now_us, slot, newest, asked)
    return Shortfall(
        budget_id=slot.budget.budget_id,
        display_name=slot.budget.display_name,
        subject=slot.subject,
        model_scope=slot.scope,
        unit=slot.budget.unit,
        limit=newest.limit,
        spent=sum(bucket.spent for bucket in buckets),
        held=sum(bucket.held for bucket in buckets),
        overage=sum(bucket.overage for bucket in buckets),
        asked=asked,
        resets_at=None if resets_us is None else from_us(resets_us),
        retry_after_s=retry_after_s,
    )


def resets_at_us(slot: Slot, counter: Counter) -> int | None:
    """When the window ends, or a rolling one's oldest bucket leaves. None: never."""
    rolling = slot.rolling
    if rolling is None:
        return None if counter.end_us == NEVER_US else counter.end_us
    oldest = slot.past[0] if slot.past else counter
    return oldest.start_us + (rolling.buckets + 1) * (
        rolling.bucket_length.days * 86_400_000_000
        + rolling.bucket_length.seconds * 1_000_000
        + rolling.bucket_length.microseconds
    )


def _waiting(now_us: int, slot: Slot, counter: Counter, asked: int) -> tuple[int | None, float | None]:
    """When the window resets, and after how many seconds the asked amount would fit if nobody else spends."""
    resets_us = resets_at_us(slot, counter)
    if asked > counter.limit or counter.limit == 0:
        return resets_us, None
    if counter.unit == 4:
        return resets_us, CONCURRENCY_RETRY_S
    if slot.rolling is None or resets_us is None:
        return resets_us, None if resets_us is None else max(0.0, (resets_us - now_us) / 1e6)
    missing = asked - slot.left(counter)
    first = slot.past[0].start_us if slot.past else counter.start_us
    for bucket in [*slot.past, counter]:
        missing -= bucket.used
        if missing <= 0:
            return resets_us, max(0.0, (resets_us + bucket.start_us - first - now_us) / 1e6)
    return resets_us, None
