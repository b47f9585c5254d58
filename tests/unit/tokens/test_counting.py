import subprocess
import sys
import time

import pytest

from services.kernel.tokens import byte_bound
from services.tokens import EXACT_BYTES_MAX, count_input, count_text, input_bound, input_bounds, profile_names
from turnpike.common.v1 import content_pb2 as pb


def prompt(*texts: str) -> pb.GenerationInput:
    generation_input = pb.GenerationInput()
    for text in texts:
        generation_input.messages.add(role=pb.ROLE_USER).parts.add().text.text = text
    return generation_input


def test_counts_texts_of_openai_models_exactly() -> None:
    # 3 for the answer's start, 4 around the message: what the vendor bills for this recorded prompt is 14.
    count = count_input(prompt("What is the capital of France?"), "o200k")
    assert count.estimate == 14
    assert count.method == "bpe:o200k_base"


def test_other_families_are_scaled_and_say_so() -> None:
    count = count_input(prompt("What is the capital of France?"), "claude")
    assert count.method == "scaled:claude"
    assert count.upper_bound > count.estimate > 7


@pytest.mark.parametrize("tokenizer", ["", "nobody-knows", "bytes"])
def test_an_unknown_tokenizer_is_bounded_by_bytes(tokenizer: str) -> None:
    text = "ಕನ್ನಡ" * 20
    count = count_input(prompt(text), tokenizer)
    assert count.method == "bytes"
    assert count.upper_bound >= len(text.encode())


@pytest.mark.parametrize("tokenizer", profile_names())
def test_the_bound_is_never_below_the_estimate(tokenizer: str) -> None:
    generation_input = prompt("Hello", "世界", "")
    generation_input.messages.add(role=pb.ROLE_ASSISTANT).parts.add().tool_call.CopyFrom(
        pb.ToolCall(id="1", name="weather", arguments_json='{"city":"Paris"}', signature=b"x" * 100)
    )
    generation_input.messages.add(role=pb.ROLE_USER).parts.add().image.url = "https://example.com/a.png"
    generation_input.tools.add(name="weather").parameters_schema.update({"type": "object"})
    generation_input.output_format.json_schema.schema.update({"type": "object"})
    count = count_input(generation_input, tokenizer)
    assert 0 < count.estimate <= count.upper_bound
    assert input_bound(generation_input, tokenizer) == count.upper_bound
    assert input_bounds(generation_input, ["o200k", tokenizer])[1] == count.upper_bound


def test_many_megabytes_take_bounded_time_and_fall_back_to_bytes() -> None:
    text = "All work and no play makes Jack a dull boy. " * 400_000
    started = time.process_time()
    count = count_input(prompt(text), "o200k")
    assert time.process_time() - started < 0.5
    assert count.method == "bytes"
    assert count.upper_bound >= len(text) > EXACT_BYTES_MAX
    assert count.estimate == pytest.approx(len(text) / 4, rel=0.01)


def test_pathological_text_is_counted_in_linear_time() -> None:
    started = time.process_time()
    for unit in ("a", "\n", " ", "0", "́a", "漢"):
        count_text(unit * (EXACT_BYTES_MAX // len(unit.encode())), "o200k")
    assert time.process_time() - started < 3


def test_tools_and_schemas_are_part_of_the_prompt() -> None:
    without = count_input(prompt("Hi"), "o200k")
    with_tool = prompt("Hi")
    tool = with_tool.tools.add(name="lookup", description="Looks something up.")
    tool.parameters_schema.update({"type": "object", "properties": {"key": {"type": "string"}}})
    assert count_input(with_tool, "o200k").estimate > without.estimate + 15
    assert count_input(with_tool, "command").estimate > count_input(with_tool, "o200k").estimate + 1_000


def test_lone_surrogates_cannot_occur_but_invalid_files_can() -> None:
    generation_input = pb.GenerationInput()
    file = generation_input.messages.add(role=pb.ROLE_USER).parts.add().file
    file.media_type, file.data = "text/plain", b"\xff\xfe broken"
    assert count_input(generation_input, "o200k").upper_bound > 8


def test_the_byte_bound_bounds_the_counted_one_for_texts() -> None:
    text = "Grüße aus München, 東京 and beyond. " * 50
    for tokenizer in profile_names():
        if tokenizer == "command":
            continue  # its vendor adds up to 1,200 tokens to some models' prompts, more than the byte bound's constant
        counted = count_input(prompt(text), tokenizer).upper_bound
        assert counted <= byte_bound(len(text.encode()), messages=1)


def test_the_byte_bound_refuses_negative_counts() -> None:
    with pytest.raises(ValueError, match="negative"):
        byte_bound(-1)


def test_counting_by_bytes_loads_no_vocabulary() -> None:
    script = (
        "import sys; from services.tokens import count_text; count_text('Hello', 'bytes'); "
        "print('bpe_openai._bindings' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_only_the_compiled_part_of_the_vocabulary_is_loaded() -> None:
    script = "import sys; from services.tokens import warm; warm(); print('bpe_openai.compat' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
