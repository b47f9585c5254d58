"""`turnpike route explain` prints what a person needs to see."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from services.cli.route import route
from tests.support.raw_vendor import raw_vendor
from tests.support.road import Road, Vendor, road
from tests.support.vendors import failing, speak


@pytest.fixture
async def on(postgres_dsn: str, tmp_path: Path) -> AsyncIterator[Road]:
    async with raw_vendor(failing(503)) as broken, raw_vendor(speak) as sound:
        models = {
            "broken": Vendor(broken.base_url, quality=0.8, input_rate=10**8, output_rate=10**8),
            "sound": Vendor(sound.base_url),
            "tiny": Vendor(sound.base_url, context=64),
        }
        async with road(postgres_dsn, tmp_path, models) as running:
            yield running


async def explained(on: Road, *arguments: str) -> str:

    options = ["explain", *arguments, "--address", on.address, "--key", on.tenant.key_secret]
    result = await asyncio.to_thread(CliRunner().invoke, route, options, env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    return result.output


async def test_a_decision_and_a_preview_are_explained(on: Road) -> None:
    response = await on.generate()
    told = await explained(on, response.outcome.decision_id, "--replay")
    assert "local/broken has the best balanced utility" in told
    assert "context.input" in told
    assert "VENDOR_ERROR" in told or "VENDOR_OVERLOADED" in told
    assert "2 (fallback)" in told
    assert "identical" in told
    preview = await explained(on, "--prompt", "hello", "--model", "local/sound")
    assert "only one" in preview
