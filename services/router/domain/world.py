"""Everything the router knows at this moment, and the boards that are laid out from it.

Catalogue, conditions and policies are immutable and replaced whole; the directory is changed between two awaits. What
is derived is remembered until what it came from has changed, so a request pays for a change once a second at most.
"""

from collections import OrderedDict
from dataclasses import dataclass

from services.kernel.pricing import ModelPrice, discounted
from services.router.domain.access import Access, Caller, access_of
from services.router.domain.board import Board, Weather
from services.router.domain.catalogue import Catalogue
from services.router.domain.conditions import NO_CONDITIONS, Conditions
from services.router.domain.constraints import Standing, standing
from services.router.domain.directory import Directory, PriceEntry
from services.router.domain.policy import Rules
from services.router.domain.policy_book import EMPTY_BOOK, PolicyBook
from services.router.domain.prices import PriceView

BOARDS_KEPT = 64
"""Organisations with own prices whose boards are remembered; each is some 100 KB at a few hundred endpoints."""

STANDINGS_KEPT = 4_096
"""(caller, rules, asked) triples whose standing exclusions are remembered: some 10 KB each at 200 candidates."""

EVERYBODY = ""
"""Stands for the organisations whose prices are the common ones."""

PRICES_RECHECKED_S = 1.0
"""How often it is looked whether a price begins or ends by its date."""


@dataclass(slots=True, eq=False)
class _KeptBoard:
    board: Board
    prices_version: int
    checked_at_s: float


@dataclass(frozen=True, slots=True, eq=False)
class _KeptStanding:
    standing: Standing
    board: Board
    access: Access
    rules: Rules
    """Held on to, so that no other takes their addresses while these exclusions are remembered."""


class World:
    """The router's view of everything else."""

    def __init__(self) -> None:
        self.directory = Directory()
        self.catalogue = Catalogue(0, {})
        self.conditions: Conditions = NO_CONDITIONS
        self.policies: PolicyBook = EMPTY_BOOK
        self._boards: OrderedDict[str, _KeptBoard] = OrderedDict()
        self._weathers: dict[int, Weather] = {}
        self._standings: OrderedDict[tuple[int, int, int, tuple[str, ...]], _KeptStanding] = OrderedDict()
        self._access: dict[tuple[int, str], Access] = {}

    def take_catalogue(self, catalogue: Catalogue) -> None:
        """A new revision of the catalogue is in force."""
        self.catalogue = catalogue
        self._boards.clear()
        self._forget()

    def take_policies(self, policies: PolicyBook) -> None:
        """New policies, grants or aliases are in force."""
        self.policies = policies
        self._access.clear()

    def take_conditions(self, conditions: Conditions) -> None:
        """The second's conditions are in force."""
        self.conditions = conditions
        self._weathers.clear()

    def board(self, organisation_id: str, now_s: float) -> Board:
        """The candidates as the organisation pays for them. `now_s` are Unix seconds: which prices are in force."""
        directory = self.directory
        owner = organisation_id if directory.has_own_prices(organisation_id) else EVERYBODY
        kept = self._boards.get(owner)
        if (
            kept is not None
            and kept.prices_version == directory.prices_version
            and now_s - kept.checked_at_s < PRICES_RECHECKED_S
        ):
            return kept.board
        view = price_view(directory, owner, now_s)
        if kept is not None and kept.board.prices == view:
            kept.prices_version, kept.checked_at_s = directory.prices_version, now_s
            return kept.board
        board = Board(self.catalogue, view)
        self._boards[owner] = _KeptBoard(board, directory.prices_version, now_s)
        while len(self._boards) > BOARDS_KEPT:
            self._boards.popitem(last=False)
        self._forget()
        return board

    def weather(self, board: Board) -> Weather:
        """The conditions in the board's order."""
        found = self._weathers.get(id(board))
        if found is None or found.board is not board:
            found = self._weathers[id(board)] = Weather(board, self.conditions)
        return found

    def standing(self, board: Board, access: Access, rules: Rules, asked: tuple[str, ...]) -> Standing:
        """The exclusions that hold for every request of such a caller under such rules."""
        # By identity: rules and access are remembered themselves, and hashing them would cost more than it saves.
        key = (id(board), id(access), id(rules), asked)
        found = self._standings.get(key)
        if found is None:
            found = _KeptStanding(standing(board, access, rules, asked), board, access, rules)
            self._standings[key] = found
            while len(self._standings) > STANDINGS_KEPT:
                self._standings.popitem(last=False)
        return found.standing

    def access(self, caller: Caller) -> Access:
        """The grants that concern the caller."""
        key = (id(self.policies), caller.key_id)
        found = self._access.get(key)
        if found is None or found.key_patterns != caller.model_patterns:
            if len(self._access) >= STANDINGS_KEPT:
                self._access.clear()
            found = self._access[key] = access_of(caller, self.policies.grants_of(caller.organisation_id))
        return found

    def _forget(self) -> None:
        # Boards are named by their address, which a new one may take over from an old one.
        self._weathers.clear()
        self._standings.clear()


def price_view(directory: Directory, organisation_id: str, now_s: float) -> PriceView:
    """Prices in force at `now_s`: everybody's, the organisation's own above them, less its discount."""
    in_force = _in_force(directory.prices_of(EVERYBODY), now_s)
    facts = directory.organisations.get(organisation_id) if organisation_id else None
    if facts is not None and facts.discount_ppm:
        in_force = {
            model: PriceEntry(discounted(entry.price, facts.discount_ppm), "", entry.revision)
            for model, entry in in_force.items()
        }
    if organisation_id:
        in_force.update(_in_force(directory.prices_of(organisation_id), now_s))
    prices: dict[str, ModelPrice] = {model: entry.price for model, entry in in_force.items()}
    stand_in = prices.get(facts.unknown_price_policy) if facts is not None else None
    revision = max((entry.revision for entry in in_force.values()), default=0)
    return PriceView(revision, prices, stand_in)


def _in_force(entries: list[PriceEntry], now_s: float) -> dict[str, PriceEntry]:
    found: dict[str, PriceEntry] = {}
    for entry in entries:
        price = entry.price
        if price.effective_from is not None and price.effective_from.timestamp() > now_s:
            continue
        if price.effective_until is not None and price.effective_until.timestamp() <= now_s:
            continue
        other = found.get(price.model)
        if other is None or _began(other) <= _began(entry):
            found[price.model] = entry
    return found


def _began(entry: PriceEntry) -> float:
    return entry.price.effective_from.timestamp() if entry.price.effective_from is not None else 0.0
