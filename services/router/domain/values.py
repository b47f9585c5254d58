"""Values that are made for every request: frozen for whoever is type-checked, plain at run time.

The `__init__` of a frozen dataclass sets each field through `object.__setattr__`, which takes four times as long as an
assignment: with some hundred fields a decision that was a tenth of its time. mypy refuses assignments to them all the
same, for it takes `value` for the `dataclass` that it stands for.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import dataclass as value
else:
    from dataclasses import dataclass

    def value(*, frozen: bool, slots: bool, eq: bool = True):
        """`dataclass` without the guard; hashed by its fields where it is compared by them, as a frozen one is."""
        assert frozen
        return dataclass(slots=slots, eq=eq, unsafe_hash=eq)


__all__ = ["value"]
