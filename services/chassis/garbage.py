"""How a serving process looks for garbage: seldom, and not among what it keeps anyway.

Python frees nearly everything at once, by counting references; its collector is there for cycles. Left alone it looks
through new objects whenever 700 more were made than freed, and one request under way holds a hundred of them: at 32
requests at a time that took 5 to 6 % of the CPU, and found little.
"""

import gc

THRESHOLDS = (10_000, 10, 100)
"""A first look comes after so many more objects made than freed. It bounds what cycles hold to a few megabytes, and a
look to some ten milliseconds (with 50,000 looks of 50 to 200 ms were seen, in which nothing is served). A second look
follows every tenth first one; a thorough one is rare, as it takes longer the more a service keeps."""


def settle() -> None:
    """Call once a process is ready: what lives by then (modules, classes, tables) is never looked through again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
