"""What leaves for the vendors, whatever the path: random policies, grants, wishes and faults on the whole road.

Each prompt carries its number, so that every call that a vendor saw is judged against the rules of its request by an
oracle of a few lines: first calls, retries, fallbacks, hedges, cascades, continuations, mirrors and vectors alike.
"""

import asyncio
import json
import random
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from services.chassis.status import RemoteError
from tests.support.budget_admin import request_id as new_id
from tests.support.governing import admin, put_grant
from tests.support.raw_vendor import Connection, Request, raw_vendor
from tests.support.road import Road, Vendor, request, road
from tests.support.vendors import cut, embed, failing, saying
from turnpike.router.v1 import router_admin_pb2 as pb
from turnpike.router.v1 import router_pb2

SEED = 20_26
POLICIES = 8
REQUESTS = 24
"""Under each policy."""

KNOWN: dict[str, dict[str, Any]] = {
    "a": {"quality": 0.84, "rate": 1, "can": {"tools", "json_object"}},
    "b": {"quality": 0.83, "rate": 2, "can": {"json_object"}},
    "c": {"quality": 0.85, "rate": 50, "can": {"tools", "json_object"}},
    "d": {"quality": 0.60, "rate": 3, "can": set()},
    "e": {"quality": 0.30, "rate": 1, "can": {"tools"}},
    "shadow": {"quality": 0.20, "rate": 5, "can": {"tools", "json_object"}},
    "v1": {"vectors": True, "rate": 1},
    "v2": {"vectors": True, "rate": 1},
}
ALWAYS = "attempts: {continue_on_other_model: true, hedge_after_s: 0.05}"
CHATTING = [name for name, facts in KNOWN.items() if not facts.get("vectors")]


@dataclass
class Rules:
    """What holds for a request, as the oracle knows it."""

    allow: list[set[str]] = field(default_factory=list)
    deny: set[str] = field(default_factory=set)
    needs: set[str] = field(default_factory=set)
    quality_min: float = 0.0
    vectors: str = ""
    """The model whose vectors are asked for; empty: an answer is."""
    documents_allow: int = 0
    """How many of `allow` are the policy's own, which do not bind its shadow model."""
    mirror: str = ""

    def breach(self, model: str, denied: set[str]) -> str:
        """Why a call of the model breaks the rules; empty: it does not."""
        facts = KNOWN[model]
        allow = self.allow[self.documents_allow :] if model == self.mirror else self.allow
        if model in denied or model in self.deny:
            return "denied"
        if any(model not in allowed for allowed in allow):
            return "not allowed"
        if self.vectors:
            return "" if model == self.vectors else "another vector space"
        if facts.get("vectors"):
            return "makes vectors"
        if not self.needs <= facts["can"]:
            return "lacks a capability"
        if model != self.mirror and facts["quality"] < self.quality_min:
            return "below the floor"
        return ""


class Faulty:
    """Answers, fails, breaks off or dawdles by lot; remembers what was asked of whom."""

    def __init__(self, draws: random.Random) -> None:
        self._draws = draws
        self.calls: list[tuple[int, str]] = []

    async def __call__(self, request: Request, connection: Connection) -> None:
        body = json.loads(request.body)
        said = json.dumps(body.get("input") or body["messages"])
        number = re.search(r"q(\d+)\.", said)
        assert number is not None
        self.calls.append((int(number[1]), body["model"]))
        lot = self._draws.random()
        if lot < 0.08:
            await failing(500)(request, connection)
        elif "input" in body:
            await embed(request, connection)
        elif lot < 0.2 and body.get("stream"):
            await cut(request, connection)
        elif lot < 0.3:
            await asyncio.sleep(0.15)
            await saying("It is 42")(request, connection)
        else:
            await saying(self._draws.choice(("42", "41", "It is 42", '{"n": 42}', "no")))(request, connection)


def some(draws: random.Random, names: list[str], least: int) -> list[str]:
    return draws.sample(names, draws.randint(least, len(names)))


async def test_no_call_breaks_a_rule_by_any_path(postgres_dsn: str, tmp_path: Path) -> None:
    draws = random.Random(SEED)
    faulty = Faulty(random.Random(SEED + 1))
    async with raw_vendor(faulty) as vendor:
        models: dict[str, Vendor | str] = {
            name: Vendor(
                vendor.base_url,
                quality=facts.get("quality", 0.5),
                input_rate=facts["rate"] * 10**8,
                output_rate=facts["rate"] * 4 * 10**8,
                can=tuple(sorted(facts.get("can", ()))),
                more='kind = "embedding"' if facts.get("vectors") else "",
            )
            for name, facts in KNOWN.items()
        }
        async with road(postgres_dsn, tmp_path, models) as on:
            await put_grant(on, "local/e", deny=True)
            denied = {"e"}
            asked: dict[int, Rules] = {}
            purposes: Counter[str] = Counter()
            refused: Counter[str] = Counter()
            written: pb.Policy | None = None
            for turn in range(POLICIES):
                document, ruled = a_policy(on, draws) if turn else every_path(on)
                written = await put(on, document, written)
                for _ in range(REQUESTS):
                    number = len(asked)
                    asked[number] = rules = a_copy(ruled)
                    await ask(on, draws, number, rules, purposes, refused)
            await on.settled(1)
    for number, model in faulty.calls:
        why = asked[number].breach(model, denied)
        assert not why, f"request {number} called {model}, which is {why} by {asked[number]}"
    assert len(faulty.calls) > POLICIES * REQUESTS / 2
    assert any(model == "shadow" for _, model in faulty.calls)
    assert {"first", "fallback", "hedge", "cascade", "escalation", "continuation"} <= set(purposes), purposes
    assert "" not in refused, refused


def every_path(on: Road) -> tuple[str, Rules]:
    """A document that opens every path."""
    mirror = f"mirror: {{model: local/shadow, share: 0.5, key: {on.tenant.key.key_id}}}"
    return (
        f"strategy: capability\nprobe_share: 0\ncascade: {{check: agreement, streams: true}}\n{mirror}\n{ALWAYS}",
        Rules(mirror="shadow"),
    )


def a_policy(on: Road, draws: random.Random) -> tuple[str, Rules]:
    """A document, and what it means."""
    rules = Rules()
    lines = [f"strategy: {draws.choice(('cost', 'capability', 'balanced'))}", "probe_share: 0.3"]
    models = []
    if draws.random() < 0.4:
        allowed = some(draws, list(KNOWN), 4)
        rules.allow.append(set(allowed))
        rules.documents_allow = 1
        models.append(f"allow: [{', '.join(f'local/{name}' for name in allowed)}]")
    if draws.random() < 0.4:
        rules.deny = set(some(draws, list(KNOWN), 1)[:2])
        models.append(f"deny: [{', '.join(f'local/{name}' for name in sorted(rules.deny))}]")
    if models:
        lines.append(f"models: {{{', '.join(models)}}}")
    if draws.random() < 0.3:
        rules.quality_min = 0.5
        lines.append("quality: {min: 0.5}")
    if draws.random() < 0.6:
        lines.append("cascade: {check: agreement, streams: true}")
    if draws.random() < 0.7:
        rules.mirror = "shadow"
        lines.append(f"mirror: {{model: local/shadow, share: 0.5, key: {on.tenant.key.key_id}}}")
    lines.append(ALWAYS)
    return "\n".join(lines), rules


def a_copy(rules: Rules) -> Rules:
    return Rules(
        list(rules.allow),
        set(rules.deny),
        set(),
        rules.quality_min,
        "",
        rules.documents_allow,
        rules.mirror,
    )


async def put(on: Road, document: str, before: pb.Policy | None) -> pb.Policy:
    """Puts the document in force in place of the one before."""
    policy = pb.Policy(
        organisation_id=on.tenant.organisation.organisation_id,
        scope=f"project:{on.tenant.project.project_id}",
        state=pb.POLICY_STATE_ACTIVE,
    )
    if before is not None:
        policy.CopyFrom(before)
    policy.document_yaml = document
    asked = pb.PutPolicyRequest(request_id=new_id(), policy=policy)
    if before is not None:
        asked.expected_version = before.version
    async with admin(on) as api:
        answer: pb.PutPolicyResponse = await api.PutPolicy(asked)
    return answer.policy


async def ask(
    on: Road,
    draws: random.Random,
    number: int,
    rules: Rules,
    purposes: "Counter[str]",
    refused: "Counter[str]",
) -> None:
    """One request with wishes of its own; what it ended with."""
    text = f"q{number}. How much is 6 times 7?"
    try:
        if draws.random() < 0.15:
            rules.vectors = draws.choice(("v1", "v2"))
            rules.mirror = ""
            outcome = (await on.embed(text, model=f"local/{rules.vectors}")).outcome
        else:
            outcome = await an_answer(on, draws, text, rules)
        purposes.update(attempt.purpose for attempt in outcome.attempts)
    except RemoteError as error:
        refused[error.reason] += 1


async def an_answer(on: Road, draws: random.Random, text: str, rules: Rules) -> Any:
    routing: dict[str, Any] = {"cascade": draws.random() < 0.5}
    if draws.random() < 0.3:
        allowed = some(draws, CHATTING, 2)
        rules.allow.append(set(allowed))
        routing["allow_models"] = [f"local/{name}" for name in allowed]
    if draws.random() < 0.3:
        unwanted = draws.choice(CHATTING)
        rules.deny.add(unwanted)
        routing["deny_models"] = [f"local/{unwanted}"]
    if draws.random() < 0.2:
        rules.quality_min = max(rules.quality_min, 0.82)
        routing["quality_min"] = 0.82
    asked = request(text, routing=routing)
    if draws.random() < 0.2:
        asked.input.output_format.json_object.SetInParent()
        rules.needs.add("json_object")
    elif draws.random() < 0.15:
        asked.input.tools.add(name="look_up", description="Looks a figure up.")
        rules.needs.add("tools")
    if draws.random() < 0.5:
        return (await on.router.unary(on.stub.Generate, asked, timeout_s=10)).outcome
    outcome = None
    streamed = router_pb2.StreamGenerateRequest(request=asked)
    async with on.router.stream(on.stub.StreamGenerate, streamed, timeout_s=10) as events:
        async for event in events:
            if event.HasField("finished"):
                outcome = event.finished
    return outcome
