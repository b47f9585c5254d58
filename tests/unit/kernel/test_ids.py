import pytest

from services.kernel.ids import KeyId, OrganisationId, RequestId, UserPseudonym, uuid7


def test_made_ids_have_a_prefix_sort_by_time_and_parse() -> None:
    ids = [OrganisationId.new() for _ in range(10_000)]
    assert ids == sorted(set(ids))
    assert all(OrganisationId.parse(made) == made for made in ids[:10])
    assert ids[0].startswith("org_")
    assert len(ids[0]) == 30


def test_uuid7_has_the_version_and_variant_of_rfc_9562() -> None:
    number = uuid7()
    assert number >> 76 & 0xF == 7
    assert number >> 62 & 0b11 == 0b10
    assert number.bit_length() <= 128


@pytest.mark.parametrize(
    "text", ["", "org_", "key_" + "0" * 26, "org_" + "u" * 26, "ORG_" + "0" * 26, "org_0"]
)
def test_what_is_no_organisation_id_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="org_…"):
        OrganisationId.parse(text)


def test_ids_are_text_and_typed() -> None:
    key = KeyId.new()
    assert isinstance(key, str)
    assert repr(key) == f"KeyId('{key}')"
    assert f"{key}" == str(key)


@pytest.mark.parametrize("text", ["a", "r-1_2.3:4", "x" * 128])
def test_callers_ids_keep_to_an_alphabet(text: str) -> None:
    assert RequestId.parse(text) == text


@pytest.mark.parametrize("text", ["", "x" * 129, "a b", "a/b", "é", "a\n"])
def test_other_callers_ids_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="letters, digits"):
        UserPseudonym.parse(text)
