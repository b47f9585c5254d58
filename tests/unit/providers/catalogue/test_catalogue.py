from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from services.kernel.model_ref import ModelRef
from services.kernel.pricing import ModelPrice, PriceTier
from services.providers.adapters.catalogue.litellm_prices import read_price_file
from services.providers.adapters.catalogue.toml_files import load, shipped
from services.providers.convert_catalogue import from_pb_model, to_pb_model, with_override
from services.providers.domain.catalogue import (
    Capabilities,
    Catalogue,
    CatalogueInvalid,
    CatalogueModel,
    Lifecycle,
    Limits,
)
from turnpike.providers.v1 import catalogue_pb2 as pb

NOW = datetime(2026, 11, 24, tzinfo=UTC)


def model(name: str = "acme/one", **facts: object) -> CatalogueModel:
    return CatalogueModel(ref=ModelRef.parse(name), **facts)  # type: ignore[arg-type]


def price(name: str, begins: datetime | None = None, rate: int = 1) -> ModelPrice:
    tier = PriceTier(input_nanos_per_million=rate, output_nanos_per_million=rate)
    return ModelPrice(name, (tier,), effective_from=begins, source="a test")


def test_the_latest_price_that_has_begun_is_in_force() -> None:
    later = datetime(2026, 12, 1, tzinfo=UTC)
    priced = model(prices=(price("acme/one", rate=1), price("acme/one", later, rate=2)))
    now, then = priced.price_at(NOW), priced.price_at(later)
    assert now is not None
    assert then is not None
    assert (now.tiers[0].input_nanos_per_million, then.tiers[0].input_nanos_per_million) == (1, 2)


def test_everything_wrong_is_told_at_once() -> None:
    wrong = [
        model(lifecycle=Lifecycle(successor="acme/none")),
        model("acme/two", prices=(price("acme/other"),)),
        model("acme/two"),
        model(
            "acme/three",
            limits=Limits(context_tokens_max=1, input_tokens_max=2),
            quality_priors={"code": 2.0},
        ),
    ]
    with pytest.raises(CatalogueInvalid) as told:
        Catalogue(wrong)
    text = str(told.value)
    for words in ("acme/none", "price of acme/other", "there twice", "more input than", "between 0 and 1"):
        assert words in text


def test_an_override_is_seen_by_its_organisation_alone() -> None:
    catalogue = Catalogue([model(), model("acme/two")])
    ours = catalogue.with_override(model(display_name="Ours"), "org_1")
    assert ours.revision == catalogue.revision + 1
    seen = ours.get(ModelRef.parse("acme/one"), "org_1")
    assert seen is not None
    assert seen.display_name == "Ours"
    others = ours.get(ModelRef.parse("acme/one"), "org_2")
    assert others is not None
    assert others.display_name == ""
    back = ours.without_override(ModelRef.parse("acme/one"), "org_1").get(ModelRef.parse("acme/one"), "org_1")
    assert back is not None
    assert back.display_name == ""
    assert [known.name for known in ours.models("org_1", "acme")] == ["acme/one", "acme/two"]


def test_an_override_replaces_what_its_mask_names_and_nothing_else() -> None:
    known = model(
        limits=Limits(context_tokens_max=10),
        capabilities=Capabilities(tools=True),
        prices=(price("acme/one"),),
    )
    wanted = pb.Model(model="acme/one", groups=["ours"])
    wanted.limits.context_tokens_max = 20
    changed = with_override(known, wanted, FieldMask(paths=["limits.context_tokens_max", "groups"]), NOW)
    assert changed.limits.context_tokens_max == 20
    assert changed.groups == ("ours",)
    assert changed.capabilities.tools is True
    assert changed.prices == known.prices


def test_a_masked_fact_that_is_absent_becomes_unknown() -> None:
    known = model(capabilities=Capabilities(tools=True), prices=(price("acme/one"),))
    changed = with_override(known, pb.Model(), FieldMask(paths=["capabilities", "list_prices"]), NOW)
    assert changed.capabilities.tools is None
    assert changed.prices == ()


def test_names_and_endpoints_cannot_be_overridden() -> None:
    with pytest.raises(ValueError, match="endpoints cannot be overridden"):
        with_override(model(), pb.Model(), FieldMask(paths=["endpoints"]), NOW)


def test_every_shipped_model_survives_the_wire() -> None:
    for known in shipped().models():
        message = to_pb_model(known, NOW)
        back = from_pb_model(pb.Model.FromString(message.SerializeToString()), known)
        assert back.prices == known.prices
        assert back.limits == known.limits
        assert back.capabilities == known.capabilities
        assert back.refused_parameters == known.refused_parameters
        assert back.lifecycle.retires_on == known.lifecycle.retires_on


def test_a_file_with_mistakes_names_each_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "acme.toml").write_text(
        """
provider = "acme"
[[models]]
model = "one"
tokenizer = "martian"
can = ["fly", "tools"]
cannot = ["tools"]
limits = { context_tokens_max = -1 }
colour = "blue"
prices = [{ source = "x", tiers = [{ input = 1.5, output = 2 }, { input = 3 }] }]
compliance = { regions = [{ value = "eu", source = "a page" }] }
[[models]]
kind = "painting"
model = "two"
""",
        encoding="utf-8",
    )
    (tmp_path / "broken.toml").write_text("provider =", encoding="utf-8")
    with pytest.raises(CatalogueInvalid) as told:
        load(tmp_path)
    text = str(told.value)
    for words in (
        "martian",
        "fly",
        "said twice",
        "context_tokens_max: is less than 1",
        "colour: is not a known field",
        "input: is not a whole number",
        "checked_on: is missing",
        "painting",
        "broken.toml: is not TOML",
        "acme.toml: acme/one",
    ):
        assert words in text, words


def test_a_later_folder_stands_for_an_earlier_one(tmp_path: Path) -> None:
    for folder, rate in (("first", 1), ("second", 2)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "acme.toml").write_text(
            f'provider = "acme"\n[[models]]\nmodel = "one"\n'
            f'prices = [{{ source = "s", tiers = [{{ input = {rate}, output = 1 }}] }}]\n',
            encoding="utf-8",
        )
    known = load(tmp_path / "first", tmp_path / "second").get(ModelRef("acme", "one"))
    assert known is not None
    assert known.prices[0].tiers[0].input_nanos_per_million == 2


PRICE_FILE = b"""{
 "sample_spec": {"mode": "one of"},
 "gpt-x": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 2.5e-06,
           "output_cost_per_token": 1.4999999999999999e-05, "cache_read_input_token_cost": 2.5e-07,
           "input_cost_per_token_above_200k_tokens": 5e-06, "output_cost_per_token_above_200k_tokens": 2.25e-05,
           "max_input_tokens": 1050000, "max_output_tokens": 128000, "supports_vision": true,
           "supports_audio_input": false, "deprecation_date": "2027-04-01"},
 "vertex_ai/claude-x": {"litellm_provider": "vertex_ai-anthropic_models", "mode": "chat",
           "input_cost_per_token": 3e-06, "output_cost_per_token": 1.5e-05},
 "dashscope/q": {"litellm_provider": "dashscope", "mode": "chat", "tiered_pricing": [
           {"range": [0, 32000.0], "input_cost_per_token": 1.2e-06, "output_cost_per_token": 6e-06},
           {"range": [32000.0, 128000.0], "input_cost_per_token": 2.4e-06, "output_cost_per_token": 1.2e-05}]},
 "free": {"litellm_provider": "openai", "mode": "chat"},
 "painter": {"litellm_provider": "openai", "mode": "image_generation"},
 "stranger": {"litellm_provider": "nobody", "mode": "chat"},
 "wrong": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": -1},
 "odd": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 1.23456789012345678e-07},
 "listed": []
}"""


def test_reads_a_price_file_of_litellm_exactly() -> None:
    found = read_price_file(PRICE_FILE, "a test")
    by_name = {known.name: known for known in found.models}
    assert set(by_name) == {"openai/gpt-x", "vertex/claude-x", "dashscope/q", "openai/free"}
    known = by_name["openai/gpt-x"]
    assert known.prices[0].tiers == (
        PriceTier(
            input_nanos_per_million=2_500_000_000,
            output_nanos_per_million=15_000_000_000,
            cache_read_nanos_per_million=250_000_000,
        ),
        PriceTier(
            input_tokens_above=200_000,
            input_nanos_per_million=5_000_000_000,
            output_nanos_per_million=22_500_000_000,
        ),
    )
    assert known.capabilities == Capabilities(image_input=True, audio_input=False)
    assert known.lifecycle.retires_on == date(2027, 4, 1)
    assert [tier.input_tokens_above for tier in by_name["dashscope/q"].prices[0].tiers] == [0, 32_000]
    assert by_name["openai/free"].prices == ()
    assert {line.partition(":")[0] for line in found.skipped} == {
        "painter",
        "stranger",
        "wrong",
        "odd",
        "listed",
    }


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff"])
def test_what_is_no_price_file_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match="is not"):
        read_price_file(content, "a test")
