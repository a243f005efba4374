"""The benchmarks, which live with the tests of a checkout."""

import importlib.util
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from infra.cli.output import USAGE, CommandError

MODULE: Final = "tests.benchmarks.main"


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command(
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
        add_help_option=False,
    )(bench)


def bench(arguments: Annotated[list[str] | None, typer.Argument()] = None) -> None:
    """Measure this installation and print the figures beside their targets.

    Arguments are handed on to the benchmarks; ``--help`` shows them.
    """
    root = Path(__file__).parents[2]
    if not (root / "tests" / "benchmarks").is_dir():
        raise CommandError(
            "the benchmarks are part of the source, not of the installed package;"
            " run gradelog bench from a checkout",
            code=USAGE,
        )
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    if importlib.util.find_spec(MODULE) is None:
        raise CommandError(f"{root / 'tests' / 'benchmarks'} has no main.py", code=USAGE)
    main = importlib.import_module(MODULE).main
    code = main(arguments or [])
    raise typer.Exit(code if isinstance(code, int) else 0)
