from services.router.domain.access import (
    ACCESS_DENIED,
    ACCESS_KEY,
    ACCESS_NOT_GRANTED,
    Access,
    Caller,
    Grant,
    access_of,
)
from tests.support.boards import model

CALLER = Caller("org_1", "team_1", "proj_1", "key_1")
GPT, HAIKU = model("openai/gpt-4o"), model("anthropic/haiku")


def grant(subject: str, pattern: str, *, deny: bool = False) -> Grant:
    return Grant(f"{subject}/{pattern}", subject, pattern, deny)


def test_without_grants_everything_is_allowed() -> None:
    assert Access().refusal(GPT) is None


def test_an_allowance_allows_nothing_else() -> None:
    access = access_of(CALLER, [grant("team:team_1", "openai/*")])
    assert access.refusal(GPT) is None
    refusal = access.refusal(HAIKU)
    assert refusal is not None
    assert refusal[0] == ACCESS_NOT_GRANTED
    assert "team:team_1" in refusal[1]


def test_a_narrower_level_only_takes_away() -> None:
    access = access_of(
        CALLER, [grant("organisation:org_1", "openai/*"), grant("project:proj_1", "anthropic/*")]
    )
    assert access.refusal(GPT) is not None
    assert access.refusal(HAIKU) is not None


def test_a_denial_beats_an_allowance_of_the_same_level() -> None:
    access = access_of(CALLER, [grant("key:key_1", "*"), grant("key:key_1", "openai/gpt-4o", deny=True)])
    assert access.refusal(GPT) == (ACCESS_DENIED, "A grant denies openai/gpt-4o to key:key_1.")
    assert access.refusal(HAIKU) is None


def test_grants_of_others_do_not_count() -> None:
    access = access_of(CALLER, [grant("team:team_2", "openai/*"), grant("key:key_2", "*", deny=True)])
    assert access.refusal(HAIKU) is None


def test_the_keys_own_list_narrows() -> None:
    refusal = Access(key_patterns=("anthropic/*",)).refusal(GPT)
    assert refusal is not None
    assert refusal[0] == ACCESS_KEY
