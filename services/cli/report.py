"""How the stack's events look on a terminal, and in a log file."""

import time

from rich.console import Console

from services.local.component import Component


class ConsoleReporter:
    """One line per event. Without a terminal the same lines, plain."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()

    def ready(self, component: Component, seconds: float, *, again: bool) -> None:
        word = "back after" if again else "ready in"
        self._line("[green]✓[/]", component, f"[dim]{word} {seconds:.1f} s[/]  {component.about}")

    def died(self, component: Component, manner: str, pause_s: float) -> None:
        self._line("[red]✗[/]", component, f"died ({manner}); starting it again in {pause_s:.1f} s")

    def stopped(self, component: Component) -> None:
        self._line("[dim]·[/]", component, "[dim]stopped[/]")

    def _line(self, mark: str, component: Component, text: str) -> None:
        self._console.print(f"{mark} [bold]{component.name:<14}[/] {text}", soft_wrap=True, highlight=False)
