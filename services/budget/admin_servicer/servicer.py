"""BudgetAdminService as one servicer."""

import asyncio

from services.budget.admin_ports import AdminStore, Sealer
from services.budget.admin_servicer.alerts import AlertRpcs
from services.budget.admin_servicer.archive import ArchiveRpcs
from services.budget.admin_servicer.audit import AuditRpcs
from services.budget.admin_servicer.budgets import BudgetRpcs
from services.budget.admin_servicer.entities import EntityRpcs
from services.budget.admin_servicer.keys import KeyRpcs
from services.budget.admin_servicer.ledger import LedgerRpcs
from services.budget.admin_servicer.limits import LimitRpcs
from services.budget.admin_servicer.prices import PriceRpcs
from services.budget.use_cases.archiving import Archiving
from services.budget.use_cases.budgets import Budgets
from services.budget.use_cases.entities import Entities
from services.budget.use_cases.keys import AdminTokens, Keys
from services.budget.use_cases.ledger import Ledger, LedgerBooks
from services.budget.use_cases.limits import Limits
from services.budget.use_cases.prices import Prices
from services.budget.use_cases.watching import BudgetWatch
from services.budget.use_cases.webhooks import Webhooks
from services.kernel.clock import Clock


class BudgetAdminServicer(
    EntityRpcs, KeyRpcs, BudgetRpcs, LimitRpcs, PriceRpcs, AuditRpcs, AlertRpcs, LedgerRpcs, ArchiveRpcs
):
    """All of it over one store."""

    def __init__(
        self,
        store: AdminStore,
        books: LedgerBooks,
        clock: Clock,
        stopping: asyncio.Event,
        trusted_hosts: frozenset[str],
        sealer: Sealer | None,
        archiving: Archiving,
    ) -> None:
        entities = Entities(store)
        EntityRpcs.__init__(self, entities, clock)
        KeyRpcs.__init__(self, entities, Keys(store), AdminTokens(store), clock)
        BudgetRpcs.__init__(self, entities, Budgets(store, clock), BudgetWatch(store, clock, stopping), clock)
        LimitRpcs.__init__(self, entities, Limits(store), clock)
        AuditRpcs.__init__(self, store)
        LedgerRpcs.__init__(self, Ledger(store, books), clock)
        ArchiveRpcs.__init__(self, archiving, clock)
        AlertRpcs.__init__(self, entities, Webhooks(store, sealer), clock, trusted_hosts)
        PriceRpcs.__init__(self, Prices(store, clock), clock)
