from datetime import UTC, datetime

from services.kernel.model_ref import ModelRef
from services.kernel.pricing import Usage, charge_nanos
from services.providers.adapters.catalogue.toml_files import shipped
from services.providers.adapters.registry import vendors
from services.providers.domain.catalogue import LifecycleStage, ModelKind
from services.providers.ports import Embeds

NOW = datetime(2026, 11, 24, tzinfo=UTC)


def test_ships_at_least_eighty_current_chat_models_and_the_main_embedding_models() -> None:
    models = shipped().models()
    current = [
        model
        for model in models
        if model.kind is ModelKind.CHAT and model.stage_at(NOW) is not LifecycleStage.RETIRED
    ]
    assert len(current) >= 80
    embeddings = {model.name for model in models if model.kind is ModelKind.EMBEDDING}
    assert {
        "openai/text-embedding-3-small",
        "openai/text-embedding-3-large",
        "gemini/gemini-embedding-001",
        "cohere/embed-v4.0",
        "mistral/mistral-embed",
    } <= embeddings


def test_every_current_model_has_limits_and_a_tokenizer_and_nearly_all_a_price() -> None:
    without_price = []
    for model in shipped().models():
        assert model.limits.context_tokens_max, model.name
        if model.stage_at(NOW) is not LifecycleStage.RETIRED and model.price_at(NOW) is None:
            without_price.append(model.name)
    # Its price is not published; the router refuses it until somebody says what it costs.
    assert without_price == ["cohere/command-a-plus-05-2026"]


def test_no_compliance_fact_lacks_its_proof_and_unknown_stays_unknown() -> None:
    for model in shipped().models():
        compliance = model.compliance
        facts = (*compliance.regions, *compliance.certifications)
        assert all(fact.source for fact in facts)


def test_models_leave_and_their_successors_follow() -> None:
    catalogue = shipped()
    leaving = catalogue.get(ModelRef("anthropic", "claude-sonnet-4-5"))
    assert leaving is not None
    assert leaving.stage_at(NOW) is LifecycleStage.DEPRECATED
    assert leaving.leaves_soon(NOW)
    assert leaving.stage_at(datetime(2026, 11, 30, tzinfo=UTC)) is LifecycleStage.RETIRED
    successor = catalogue.successor_of(leaving, NOW)
    assert successor is not None
    assert successor.stage_at(NOW) is LifecycleStage.ACTIVE


def test_a_chain_of_successors_skips_the_retired() -> None:
    catalogue = shipped()
    oldest = catalogue.get(ModelRef("openai", "o3-mini"))
    assert oldest is not None
    successor = catalogue.successor_of(oldest, datetime(2027, 6, 1, tzinfo=UTC))
    assert successor is not None
    assert successor.stage_at(datetime(2027, 6, 1, tzinfo=UTC)) is not LifecycleStage.RETIRED


def test_prices_are_what_the_list_says() -> None:
    model = shipped().get(ModelRef("anthropic", "claude-haiku-4-5"))
    assert model is not None
    price = model.price_at(NOW)
    assert price is not None
    # 1,000,000 plain, 1,000,000 read from the cache, 1,000,000 out: 1 + 0.10 + 5 dollars.
    usage = Usage(input_tokens=2_000_000, output_tokens=1_000_000, cache_read_tokens=1_000_000)
    assert charge_nanos(price, usage) == 6_100_000_000


def test_models_that_refuse_sampling_say_so() -> None:
    catalogue = shipped()
    for name in ("claude-opus-4-7", "claude-sonnet-5"):
        model = catalogue.get(ModelRef("anthropic", name))
        assert model is not None
        assert {"temperature", "top_p", "top_k"} <= model.profile().refused_parameters
        assert model.profile().hints["thinking"] == "adaptive"


def test_every_model_is_spoken_to_in_a_format_of_its_vendor() -> None:
    for model in shipped().models():
        vendor = vendors().get(model.ref.provider)
        assert vendor is not None, model.name
        assert set(model.wire_formats) <= set(vendor.formats), model.name
        if model.kind is ModelKind.EMBEDDING:
            assert isinstance(vendor.formats[model.wire_formats[0]], Embeds), model.name
