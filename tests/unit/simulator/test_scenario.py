from random import Random

import jsonschema
import pytest

from services.providers.simulator.answers import Ask, OfferedTool, instance, make_reply, pieces
from services.providers.simulator.scenario import (
    Answers,
    Director,
    Fault,
    Pace,
    Rule,
    Scenario,
    ScenarioInvalid,
    parse_scenario,
)

TEXT = """
seed = 7
[pace]
first_token_ms = 120
tokens_per_s = 80
[limits]
requests_per_minute = 60
[[rules]]
fault = "overloaded"
from_s = 10
until_s = 25
vendors = ["anthropic"]
[[rules]]
fault = "truncate"
after_tokens = 5
probability = 0.5
models = ["gpt-*"]
"""


def test_reads_a_scenario() -> None:
    scenario = parse_scenario(TEXT)
    assert scenario.seed == 7
    assert scenario.pace == Pace(first_token_ms=120, tokens_per_s=80)
    assert scenario.rules[0].vendors == ("anthropic",)
    assert scenario.rules[1].fault is Fault.TRUNCATE


def test_tells_every_problem_at_once() -> None:
    with pytest.raises(ScenarioInvalid) as told:
        parse_scenario(
            '{"seed": "x", "colour": 1, "pace": {"tokens_per_s": -1},'
            ' "rules": [{"fault": "fire"}, {"vendors": ["acme"]}]}'
        )
    for words in ("seed", "colour", "tokens_per_s is negative", "fire", "acme is not simulated"):
        assert words in str(told.value)


@pytest.mark.parametrize("text", ["{", "[[rules", "rules = 3"])
def test_what_is_no_scenario_is_refused(text: str) -> None:
    with pytest.raises(ScenarioInvalid):
        parse_scenario(text)


def test_an_outage_follows_its_schedule() -> None:
    director = Director(parse_scenario(TEXT))
    faults = [director.script("anthropic", "claude", "", second).fault for second in (9.9, 10.0, 24.9, 25.0)]
    assert faults == [Fault.NONE, Fault.OVERLOADED, Fault.OVERLOADED, Fault.NONE]
    assert director.script("openai", "o3", "", 12.0).fault is Fault.NONE


def test_the_same_seed_gives_the_same_faults_and_another_gives_others() -> None:
    def faults(seed: int) -> list[Fault]:
        rule = Rule(fault=Fault.SERVER_ERROR, probability=0.5)
        director = Director(Scenario(seed=seed, rules=(rule,)))
        return [director.script("openai", "m", "", 0.0).fault for _ in range(64)]

    assert faults(1) == faults(1)
    assert faults(1) != faults(2)
    assert 16 < faults(1).count(Fault.SERVER_ERROR) < 48


def test_rules_count_what_they_match() -> None:
    rules = (Rule(fault=Fault.QUOTA, first_requests=2), Rule(fault=Fault.RATE_LIMIT, every=3))
    director = Director(Scenario(rules=rules))
    faults = [director.script("openai", "m", "", 0.0).fault for _ in range(8)]
    none, quota, rate = Fault.NONE, Fault.QUOTA, Fault.RATE_LIMIT
    assert faults == [quota, quota, none, none, rate, none, none, rate]


def test_instances_are_told_apart() -> None:
    director = Director(Scenario(rules=(Rule(fault=Fault.OVERLOADED, instances=("west",)),)))
    assert director.script("openai", "m", "west", 0.0).fault is Fault.OVERLOADED
    assert director.script("openai", "m", "east", 0.0).fault is Fault.NONE


def test_answers_depend_on_the_prompt_and_ids_on_the_request() -> None:
    ask = Ask(model="m", prompt="Hello")
    one, two = make_reply(ask, Answers(), 1, 1), make_reply(ask, Answers(), 1, 2)
    assert one.text == two.text
    assert one.id != two.id
    assert make_reply(Ask(model="m", prompt="Bye"), Answers(), 1, 1).text != one.text


def test_the_cap_and_stop_sequences_end_an_answer() -> None:
    said = Answers(text="one two three four five")
    capped = make_reply(Ask(model="m", prompt="x", output_tokens_max=2), said, 0, 1)
    assert ("".join(capped.text), capped.finish, capped.output_tokens) == ("one two", "length", 2)
    stopped = make_reply(Ask(model="m", prompt="x", stop=[" four"]), said, 0, 1)
    assert ("".join(stopped.text), stopped.finish) == ("one two three", "stop")


def test_tools_are_called_until_their_results_are_there() -> None:
    tool = OfferedTool("look", {"type": "object", "properties": {"n": {"type": "integer"}}})
    ask = Ask(model="m", prompt="x", tools=[tool])
    assert make_reply(ask, Answers(), 0, 1).calls[0].name == "look"
    ask.has_results = True
    assert make_reply(ask, Answers(), 0, 1).calls == []
    ask.forced_tool = "look"
    assert make_reply(ask, Answers(), 0, 1).finish == "tool"
    ask.tools_forbidden = True
    assert make_reply(ask, Answers(), 0, 1).calls == []


def test_made_up_values_fit_their_schema() -> None:
    schema = {
        "type": "object",
        "properties": {
            "kind": {"enum": ["a", "b"]},
            "count": {"type": "integer", "minimum": 3, "maximum": 5},
            "tags": {"type": "array", "items": {"type": "string"}, "minItems": 2},
            "inner": {
                "anyOf": [{"type": "object", "properties": {"ok": {"type": "boolean"}}}, {"type": "null"}]
            },
            "fixed": {"const": 7},
        },
        "required": ["kind", "count", "tags", "inner", "fixed"],
    }
    for seed in range(20):
        jsonschema.validate(instance(schema, Random(seed)), schema)


def test_recursive_schemas_end() -> None:
    schema: dict[str, object] = {"type": "object", "properties": {}}
    schema["properties"] = {"child": schema}
    assert instance(schema, Random(0)) != {}


def test_pieces_join_to_their_text() -> None:
    for text in ("", "one", " two  spaces here ", "a b c"):
        assert "".join(pieces(text)) == text
