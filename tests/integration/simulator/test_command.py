"""`turnpike simulate` as a user runs it."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import aiohttp
from click.testing import CliRunner

from services.cli.simulate import simulate


async def test_it_says_where_it_is_answers_and_ends_when_told(tmp_path: Path) -> None:
    scenario = tmp_path / "scenario.toml"
    scenario.write_text('require_key = false\n[answers]\ntext = "Hello there"\n', encoding="utf-8")
    log = tmp_path / "requests.jsonl"
    arguments = ("simulate", "--port", "0", "--scenario", str(scenario), "--log", str(log))
    with subprocess.Popen(
        (sys.executable, "-m", "services.cli", *arguments), stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        url = running.stdout.readline().split()[-1]
        body = {"contents": [{"parts": [{"text": "Hi"}]}]}
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{url}/gemini/v1beta/models/m:generateContent", json=body) as answer,
        ):
            told = await answer.json()
        running.send_signal(signal.SIGTERM)
        assert running.wait(timeout=10) == 0
    assert told["candidates"][0]["content"]["parts"] == [{"text": "Hello there"}]
    (line,) = log.read_text(encoding="utf-8").splitlines()
    logged = json.loads(line)
    assert (logged["vendor"], logged["model"], logged["outcome"]) == ("gemini", "m", "done")
    assert (logged["prompt_start"], logged["number"]) == ("Hi", 1)


def test_a_wrong_scenario_is_told_before_anything_listens(tmp_path: Path) -> None:
    scenario = tmp_path / "scenario.toml"
    scenario.write_text("[pace]\nspeed = 3\n[[rules]]\nfault = 'fire'\n", encoding="utf-8")
    done = CliRunner().invoke(simulate, ["--scenario", str(scenario)])
    assert done.exit_code == 1
    assert "speed is not known" in done.output
    assert "fire is not one of" in done.output
