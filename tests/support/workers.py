"""How tests are spread over the workers of pytest-xdist.

A module's tests stay on one worker, so that what they share is made once. Modules that start the whole local stack
share one worker: two stacks at a time are too much for two cores. (xdist's own groups rest on a detail of pytest that
pytest 9.2 no longer has, and are silently ignored there.)
"""

from xdist.scheduler import LoadScopeScheduling

WHOLE_STACK = ("tests/e2e/", "tests/integration/local/", "tests/chaos/")


class OneWorkerEach(LoadScopeScheduling):  # type: ignore[misc]  # xdist ships no types
    """Gives each module, and all that start the whole stack together, to one worker."""

    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.partition("::")[0]
        return "the whole stack" if module.startswith(WHOLE_STACK) else module
