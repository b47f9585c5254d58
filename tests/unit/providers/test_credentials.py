"""The pool of credentials: which is used, which rests."""

from services.kernel.clock import ManualClock
from services.providers.adapters.access import Bearer
from services.providers.adapters.credentials import QUOTA_REST_S, CredentialPool, from_environment
from services.providers.domain.failure import Failure, Reason
from services.providers.ports import Credential, Vendor

REFUSED = Failure(Reason.ERROR_REASON_VENDOR_AUTHENTICATION_FAILED, "")
USED_UP = Failure(Reason.ERROR_REASON_VENDOR_QUOTA_EXHAUSTED, "")
LIMITED = Failure(Reason.ERROR_REASON_VENDOR_RATE_LIMITED, "", retry_after_s=7.0)
BROKEN = Failure(Reason.ERROR_REASON_VENDOR_ERROR, "")


def key(name: str, organisation_id: str = "") -> Credential:
    return Credential(name, "openai", f"sk-{name}", organisation_id)


def chosen(pool: CredentialPool, organisation_id: str = "", credential_id: str = "") -> str | None:
    found = pool.choose("openai", organisation_id, credential_id)
    return None if found is None else found.credential_id


def test_load_spreads_over_the_pool() -> None:
    pool = CredentialPool(ManualClock(), [key("a"), key("b"), key("c")])
    assert [chosen(pool) for _ in range(6)] == ["a", "b", "c", "a", "b", "c"]


def test_a_refused_key_rests_and_comes_back() -> None:
    clock = ManualClock()
    pool = CredentialPool(clock, [key("a"), key("b")])
    assert pool.report(key("a"), REFUSED), "another stands in for it"
    assert {chosen(pool) for _ in range(4)} == {"b"}
    assert not pool.report(key("b"), USED_UP), "nobody is left"
    assert chosen(pool) is None
    clock.advance(QUOTA_REST_S + 1)
    assert chosen(pool) is not None


def test_a_limited_key_rests_only_where_others_stand_in() -> None:
    clock = ManualClock()
    pool = CredentialPool(clock, [key("a"), key("b")])
    assert pool.report(key("a"), LIMITED)
    assert pool.resting_s("a") == 7.0
    assert not pool.report(key("b"), LIMITED), "the last one goes on; its endpoint rests instead"
    assert pool.resting_s("b") is None
    assert not pool.report(key("b"), BROKEN)


def test_an_organisation_uses_its_own_first_and_nobody_elses() -> None:
    pool = CredentialPool(ManualClock(), [key("ours"), key("acmes", "acme"), key("globexs", "globex")])
    assert chosen(pool, "acme") == "acmes"
    assert chosen(pool, "initech") == "ours"
    assert chosen(pool, "initech", credential_id="acmes") is None
    pool.report(key("acmes", "acme"), REFUSED)
    assert chosen(pool, "acme") == "ours"


def test_secrets_do_not_show() -> None:
    assert "sk-" not in repr(key("a"))


def test_several_keys_in_one_variable_make_a_pool() -> None:
    vendors = [
        Vendor("openai", "https://api", Bearer(), {}, ("FIRST_KEY", "SECOND_KEY")),
        Vendor("google", "https://api", Bearer(), {}, ("GOOGLE_JSON",)),
        Vendor("local", "", Bearer(), {}),
    ]
    found = from_environment(vendors, {"SECOND_KEY": "one, two", "GOOGLE_JSON": '{"a": 1, "b": 2}'})
    assert [(found.provider, found.secret) for found in found] == [
        ("openai", "one"),
        ("openai", "two"),
        ("google", '{"a": 1, "b": 2}'),
    ]
    assert len({credential.credential_id for credential in found}) == 3
