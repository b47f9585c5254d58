"""What the commands for admins share: whom they call as whom, and how they show what they get."""

import asyncio
import json
import re
import secrets
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import update_wrapper
from typing import Any, TypeVar

import click
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console
from rich.table import Table
from rich.text import Text

from services.chassis.channel import Remote, connect
from services.cli.reach import FILE, reach_admin, secret_in
from services.cli.words import amount, moment
from services.kernel.errors import ServiceUnavailable, TurnpikeError
from services.kernel.money import Money
from turnpike.budget.v1 import entities_pb2
from turnpike.budget.v1.budget_admin_pb2_grpc import BudgetAdminServiceStub
from turnpike.common.v1 import error_pb2

Command = TypeVar("Command", bound=Callable[..., Any])

CALL_TIMEOUT_S = 30.0
WALK_TIMEOUT_S = 600.0  # a walk along a long ledger, or a report over it
PAGE_SIZE = 1000

_DURATION = re.compile(r"(\d+)\s*([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


@dataclass(frozen=True, slots=True)
class Access:
    """Whom to call, as whom, and how to show the answers."""

    service: str
    address: str
    token: str = field(repr=False)
    as_json: bool
    stub: Callable[[Any], Any] = field(repr=False)
    demo: str = ""
    """The organisation of the local demo, where its operator calls; empty elsewhere."""

    @asynccontextmanager
    async def admin(self) -> AsyncIterator["AdminApi"]:
        """The service."""
        async with connect(self.service, self.address, token=self.token) as remote:
            yield AdminApi(remote, self.stub(remote.channel))


@dataclass(frozen=True, slots=True)
class AdminApi:
    """An admin service by the names of its RPCs."""

    remote: Remote
    stub: Any

    async def call(self, method: str, request: Any, *, timeout_s: float = CALL_TIMEOUT_S) -> Any:
        """One call. A request that has a `request_id` and none in it gets one: the command happens once."""
        if "request_id" in request.DESCRIPTOR.fields_by_name and not request.request_id:
            request.request_id = f"cli-{secrets.token_hex(12)}"
        return await self.remote.unary(getattr(self.stub, method), request, timeout_s=timeout_s)

    def watch(self, method: str, request: Any) -> AbstractAsyncContextManager[AsyncIterator[Any]]:
        """The answers of a stream, for the length of a block."""
        stream: Any = getattr(self.stub, method)
        return self.remote.stream(stream, request)

    async def pages(
        self, method: str, request: Any, items: str, most: int | None, *, page_size: int = PAGE_SIZE
    ) -> list[Any]:
        """All items of a list, at most `most` of them, so many at a time."""
        found: list[Any] = []
        while True:
            request.page_size = min(page_size, most - len(found)) if most else page_size
            answer = await self.call(method, request)
            found += getattr(answer, items)
            if not answer.next_page_token or (most and len(found) >= most):
                return found
            request.page_token = answer.next_page_token


def service_command(service: str, variable: str, stub: Callable[[Any], Any]) -> Callable[[Command], Command]:
    """Makes an async function whose first parameter is an Access a command with the options for one.

    `variable` is the one of the environment that has the service's address.
    """
    options = (
        click.option(
            "--address",
            envvar=variable,
            help=f"{service.capitalize()} service, as host:port.  [default: the local stack's]",
        ),
        click.option(
            "--token",
            envvar="TURNPIKE_ADMIN_TOKEN",
            help="Admin token.  [default: the local stack's, for its own address; better by TURNPIKE_ADMIN_TOKEN]",
        ),
        click.option("--token-file", type=FILE, callback=secret_in, help="A file that holds it."),
        click.option("--json", "as_json", is_flag=True, help="JSON on standard output, for programs."),
    )

    def decorate(command: Command) -> Command:
        def run(
            address: str | None, token: str | None, token_file: str | None, as_json: bool, **given: Any
        ) -> None:
            reached = reach_admin(service, address, token_file or token)
            access = Access(service, reached.address, reached.secret, as_json, stub, reached.as_operator_of)
            try:
                asyncio.run(command(access, **given))
            except ServiceUnavailable as away:
                hint = " Is the stack running? `turnpike up` starts it." if reached.local else ""
                raise click.ClickException(
                    f"{away.message} It was looked for at {reached.address}.{hint}"
                ) from away
            except TurnpikeError as refused:
                raise click.ClickException(refused.message) from refused

        update_wrapper(run, command)
        own = list(getattr(command, "__click_params__", []))
        run.__click_params__ = []  # type: ignore[attr-defined]
        for option in reversed(options):
            run = option(run)
        # The command's own options come first in its help.
        run.__click_params__ = [*run.__click_params__, *own]  # type: ignore[attr-defined]
        return run  # type: ignore[return-value]

    return decorate


admin_command = service_command("budget", "TURNPIKE_BUDGET_ADDRESS", BudgetAdminServiceStub)


# ---- showing ---------------------------------------------------------------------------------------------------------
Column = tuple[str, Callable[[Any], str]]
"""A heading, and what it shows of an item. Headings that begin with `>` are of figures, to the right."""


def show(access: Access, items: Sequence[Message], columns: Sequence[Column]) -> None:
    """Items as a table, or as JSON lines."""
    if access.as_json:
        for item in items:
            click.echo(json.dumps(document(item), ensure_ascii=False))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading, _ in columns:
        right = heading.startswith(">")
        table.add_column(heading.removeprefix(">"), justify="right" if right else "left", overflow="fold")
    for item in items:
        table.add_row(*(Text(value(item)) for _, value in columns))
    console = Console()
    if not console.is_terminal:
        console.width = 240  # a file or a pipe is as wide as it takes
    console.print(table)


def show_one(access: Access, item: Message, fields: Iterable[tuple[str, str]]) -> None:
    """One item as labelled lines, or as a JSON object."""
    if access.as_json:
        click.echo(json.dumps(document(item), ensure_ascii=False))
        return
    table = Table.grid(padding=(0, 2))
    for label, text in fields:
        table.add_row(Text(label, style="bold"), Text(text))
    Console().print(table)


def document(item: Message) -> dict[str, Any]:
    """A message as JSON, with its fields named as the contract names them."""
    shown: dict[str, Any] = MessageToDict(
        item, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return shown


def secret_shown(access: Access, item: Message, what: str, secret: str) -> None:
    """What was made, and its secret on standard output: alone, so that it can be caught."""
    if access.as_json:
        click.echo(json.dumps({**document(item), "secret": secret}, ensure_ascii=False))
        return
    click.echo(f"{what} Its secret is shown this once:", err=True)
    click.echo(secret)


def state_of(item: Any) -> str:
    """The state in a word."""
    return entities_pb2.EntityState.Name(item.state).removeprefix("ENTITY_STATE_").lower()


def when(item: Any, name: str) -> str:
    """A time of an item; empty if it is absent."""
    return moment(getattr(item, name).ToDatetime(tzinfo=UTC)) if item.HasField(name) else ""


def figure(budget: Any, value: int) -> str:
    """An amount in a budget's unit."""
    return amount(value, budget.unit)


# ---- reading ---------------------------------------------------------------------------------------------------------
def limit_of(text: str, unit: "error_pb2.BudgetUnit.ValueType") -> int:
    """A limit as people write it: dollars for money, a whole number for everything else."""
    try:
        if unit == error_pb2.BUDGET_UNIT_MONEY:
            return Money.parse(text.removeprefix("$")).nanos
        return int(text.replace("_", "").replace(",", ""))
    except ValueError as error:
        raise click.BadParameter(f"{text}: {error}") from error


def duration_of(text: str) -> timedelta:
    """`90m`, `48h`, `7d`."""
    match = _DURATION.fullmatch(text.strip().lower())
    if match is None:
        raise click.BadParameter(f"{text}: is no duration such as 90m, 48h or 7d")
    return timedelta(seconds=int(match[1]) * _SECONDS[match[2]])


def time_of(text: str) -> datetime:
    """An ISO 8601 time or date; UTC unless it says otherwise."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise click.BadParameter(f"{text}: is no time such as 2026-01-31 or 2026-01-31T12:00Z") from error
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def stamp(time: datetime) -> Timestamp:
    """A time for the wire."""
    value = Timestamp()
    value.FromDatetime(time)
    return value
