"""`turnpike`, or `python -m services.cli`."""

import click

from services.cli.ask import ask
from services.cli.reset import reset
from services.cli.up import up


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="turnpike")
def main() -> None:
    """Routes requests to language models under exact budgets."""


main.add_command(up)
main.add_command(ask)
main.add_command(reset)

if __name__ == "__main__":
    main()
