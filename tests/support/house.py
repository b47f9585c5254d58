"""What the checks of the house look at: every file that is committed or about to be, every module, every RPC."""

import importlib
import pkgutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import services
import turnpike

ROOT = Path(__file__).resolve().parents[2]


@cache
def files(*patterns: str) -> tuple[Path, ...]:
    """Files under version control, and new ones that are not ignored, that match one of the git patterns."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", "--", *patterns],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    )
    return tuple(
        sorted({ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()})
    )


@cache
def modules() -> tuple[ModuleType, ...]:
    """Every module of the services, imported."""
    names = (found.name for found in pkgutil.walk_packages(services.__path__, "services."))
    return tuple(importlib.import_module(name) for name in names if not name.endswith(".__main__"))


def subclasses(base: type) -> Iterator[type]:
    """All classes of the services below `base`."""
    modules()
    below: list[type] = type.__subclasses__(base)
    for found in below:
        if found.__module__.startswith("services."):
            yield found
        yield from subclasses(found)


@cache
def servicer_bases() -> dict[str, Any]:
    """The generated base class of each gRPC service, by the service's full name."""
    bases: dict[str, Any] = {}
    for found in pkgutil.walk_packages(turnpike.__path__, "turnpike."):
        if not found.name.endswith("_pb2"):
            continue
        messages = importlib.import_module(found.name)
        for service in messages.DESCRIPTOR.services_by_name.values():
            stubs = importlib.import_module(f"{found.name}_grpc")
            bases[service.full_name] = getattr(stubs, f"{service.name}Servicer")
    return bases


def unimplemented_rpcs() -> list[str]:
    """Full names of the RPCs that no servicer of ours defines."""
    missing: list[str] = []
    for service, base in servicer_bases().items():
        ours = list(subclasses(base))
        rpcs = [name for name in vars(base) if not name.startswith("_")]
        missing.extend(
            f"/{service}/{rpc}"
            for rpc in rpcs
            if not any(getattr(one, rpc) is not getattr(base, rpc) for one in ours)
        )
    return sorted(missing)


def listed(path: Path) -> dict[str, str]:
    """A committed list: what it names, one a line, each with the remark after `#`."""
    entries = (line.partition("#") for line in path.read_text().splitlines() if not line.startswith("#"))
    return {name.strip(): remark.strip() for name, _, remark in entries if name.strip()}
