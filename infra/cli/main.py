"""The command ``gradelog``.

Whatever goes wrong ends as one line on standard error and an exit code: 2 when the command
cannot be carried out as it was given, 1 when it was tried and did not work. The traceback
is for ``GRADELOG_LOG_LEVEL=DEBUG``.
"""

import os
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Final

INTERRUPTED: Final = 130
"""Exit code of a command that was interrupted from the keyboard."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and end the process."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    if given == ["--version"]:
        sys.stdout.write(f"gradelog {version()}\n")
        sys.exit(0)
    sys.exit(_run(given))


def version() -> str:
    """The version of this code: of the checkout, or as it was installed."""
    import tomllib

    try:
        project = tomllib.loads(
            (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
        )["project"]
        if project["name"] == "gradelog":
            return str(project["version"])
    except (OSError, ValueError, KeyError):
        pass
    from importlib.metadata import version as installed

    return installed("gradelog")


def _run(arguments: list[str]) -> int:
    from infra.cli.commands import app

    # What was opened is closed in order, whoever ends the command.
    signal.signal(signal.SIGTERM, _end)
    try:
        result = app(args=arguments, prog_name="gradelog", standalone_mode=False)
    except BaseException as error:  # noqa: BLE001 - every ending becomes an exit code
        return _ended_by(error)
    if result == INTERRUPTED:
        sys.stderr.write("gradelog: interrupted\n")
    return result if isinstance(result, int) else 0


def _end(number: int, _frame: object) -> None:
    sys.exit(128 + number)


def _ended_by(error: BaseException) -> int:
    """Tell what ended a command; return the exit code."""
    import typer

    match error:
        case SystemExit():
            return error.code if isinstance(error.code, int) else 1
        case KeyboardInterrupt() | typer.Abort():
            return INTERRUPTED
        case BrokenPipeError():
            # Whoever read our output has seen enough. Nothing more may be written at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        case typer.Exit():
            return error.exit_code
    if (usage := _usage_message(error)) is not None:
        if usage:
            sys.stderr.write(f"gradelog: {usage}\n")
        return 2
    if os.environ.get("GRADELOG_LOG_LEVEL", "").upper() == "DEBUG":
        traceback.print_exception(error)
    lines, code = _told(error)
    for line in lines:
        sys.stderr.write(f"gradelog: {line}\n")
    return code


def _usage_message(error: BaseException) -> str | None:
    """What the parser of the command line has to say; None if it is not its error.

    It is an empty text where a command without arguments has printed its help already.
    """
    import typer

    # The parser is Click, or typer's own copy of it: the name of the base class is the same.
    bases = {kind.__name__: kind for kind in typer.BadParameter.__mro__}
    if not isinstance(error, bases["ClickException"]):
        return None
    context = getattr(error, "ctx", None)
    message = str(getattr(error, "format_message", lambda: str(error))())
    if not message or context is None:
        return message
    return f"{message} ({context.command_path} --help tells more)"


def _told(error: BaseException) -> tuple[Sequence[str], int]:
    """What to say about an error, and the exit code."""
    import psycopg

    from domain.errors import DomainError, OutcomeUnknownError, UnavailableError
    from infra.cli.output import FAILED, USAGE, CommandError
    from infra.embedded import EmbeddedPostgresError
    from infra.imports.tables import TableError
    from infra.kafka.launch import EmbeddedKafkaError
    from infra.kafka.programs import MissingProgramError
    from infra.migrate import MigrationError
    from infra.settings import SettingsError
    from infra.vault import VaultError
    from projections.positions import ReadModelError

    if isinstance(error, BaseExceptionGroup):
        return _told(error.exceptions[0])
    match error:
        case CommandError():
            return [str(error)], error.code
        case SettingsError():
            return error.problems, USAGE
        case (
            DomainError()
            | EmbeddedKafkaError()
            | EmbeddedPostgresError()
            | MigrationError()
            | MissingProgramError()
            | OutcomeUnknownError()
            | ReadModelError()
            | TableError()
            | UnavailableError()
            | VaultError()
        ):
            return [str(error)], FAILED
        case psycopg.OperationalError():
            return [f"the database does not answer: {_first_line(error)}"], FAILED
        case psycopg.Error():
            return [f"the database refuses: {_first_line(error)}"], FAILED
        case OSError():
            return [_of_system(error)], FAILED
        case _:
            what = f"{type(error).__name__}: {_one_line(error)}"
            return [f"defect: {what} (GRADELOG_LOG_LEVEL=DEBUG shows where)"], FAILED


def _first_line(error: BaseException) -> str:
    """What a server or a driver says; further lines are hints and may hold values."""
    return str(error).partition("\n")[0].removeprefix("connection failed: ")


def _one_line(error: BaseException) -> str:
    return "; ".join(line.strip() for line in str(error).splitlines() if line.strip())


def _of_system(error: OSError) -> str:
    what = error.strerror or str(error)
    return f"{error.filename}: {what}" if error.filename else what


if __name__ == "__main__":
    main()
