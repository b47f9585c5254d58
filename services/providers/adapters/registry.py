"""Finds every vendor and every wire format that is shipped: a module is all it takes to add one.

A module of adapters/wire with a `FORMATS` tuple brings wire formats in their plain dialect; a module of
adapters/vendors with a `VENDOR` or `VENDORS` brings vendors, with the dialect each of them speaks.
"""

import importlib
import pkgutil
from functools import cache

from services.providers.adapters import vendors as vendors_package
from services.providers.adapters import wire as wire_package
from services.providers.adapters.access import Bearer
from services.providers.ports import Vendor, WireFormat


@cache
def wire_formats() -> dict[str, WireFormat]:
    """Every wire format in its plain dialect, by name."""
    found: dict[str, WireFormat] = {}
    for module in pkgutil.iter_modules(wire_package.__path__):
        loaded = importlib.import_module(f"{wire_package.__name__}.{module.name}")
        for wire_format in getattr(loaded, "FORMATS", ()):
            if found.setdefault(wire_format.name, wire_format) is not wire_format:
                raise ValueError(f"two wire formats are named {wire_format.name}")
    return found


@cache
def vendors() -> dict[str, Vendor]:
    """Every vendor, by name."""
    found: dict[str, Vendor] = {}
    for module in pkgutil.iter_modules(vendors_package.__path__):
        loaded = importlib.import_module(f"{vendors_package.__name__}.{module.name}")
        brought = getattr(loaded, "VENDORS", ()) or ((loaded.VENDOR,) if hasattr(loaded, "VENDOR") else ())
        for vendor in brought:
            if found.setdefault(vendor.name, vendor) is not vendor:
                raise ValueError(f"two vendors are named {vendor.name}")
    return found


def vendor_named(name: str) -> Vendor:
    """The vendor of that name; any other name is a stranger that brings its own base URL and speaks plain dialects."""
    return vendors().get(name) or Vendor(name, "", Bearer(), wire_formats())


def format_of(provider: str, wire_format: str) -> WireFormat | None:
    """What `provider` speaks under that name, in its dialect; else the plain one; None if nobody speaks it."""
    return vendor_named(provider).formats.get(wire_format) or wire_formats().get(wire_format)
