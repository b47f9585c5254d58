"""docs/unimplemented_rpcs.txt names exactly the RPCs that answer UNIMPLEMENTED."""

from tests.support.house import ROOT, listed, servicer_bases, unimplemented_rpcs

LIST = ROOT / "docs/unimplemented_rpcs.txt"


def test_the_list_of_unimplemented_rpcs_is_true() -> None:
    actual, said = set(unimplemented_rpcs()), set(listed(LIST))
    assert actual - said == set(), "these are not built; build them, or list them"
    assert said - actual == set(), "these are built; take them off the list"


def test_every_service_of_the_contract_is_looked_at() -> None:
    assert {name.rpartition(".")[2] for name in servicer_bases()} >= {
        "RouterService",
        "RouterAdminService",
        "BudgetService",
        "BudgetAdminService",
        "ProviderService",
        "ProviderAdminService",
        "AnalyticsService",
    }
