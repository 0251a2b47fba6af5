"""The command line. Each command parses, calls one function and prints; heavy imports wait until then."""

import io
import os
import sys
from collections.abc import Callable
from typing import Annotated

import typer

from vlseg import __version__
from vlseg.cli.attack import attack
from vlseg.cli.cache import cache_app
from vlseg.cli.calibrate import calibrate
from vlseg.cli.compare import compare
from vlseg.cli.data import data_app
from vlseg.cli.demo import demo
from vlseg.cli.evaluate import evaluate
from vlseg.cli.export import export
from vlseg.cli.mcp import mcp
from vlseg.cli.merge import merge
from vlseg.cli.models import models
from vlseg.cli.predict import predict
from vlseg.cli.probe import probe
from vlseg.cli.prompts import prompts_app
from vlseg.cli.report import report
from vlseg.cli.robustness import robustness
from vlseg.cli.serve import serve
from vlseg.cli.study import study_app
from vlseg.cli.train import train
from vlseg.records import InputError, LostProcessError, from_system, started_place

_CLICK_ERROR = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")
"""ClickException of the click that this typer brings along, which it does not name."""

app = typer.Typer(
    help="Fine-tune, test and use vision-language segmentation models on 2D medical images.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(demo)
app.command()(models)
app.add_typer(data_app, name="data")
app.add_typer(prompts_app, name="prompts")
app.command()(train)
app.command()(evaluate)
app.command()(compare)
app.command()(predict)
app.command()(probe)
app.command()(serve)
app.command()(mcp)
app.command()(attack)
app.command()(robustness)
app.command()(merge)
app.command()(calibrate)
app.command()(export)
app.add_typer(study_app, name="study")
app.command()(report)
app.add_typer(cache_app, name="cache")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"vlseg {__version__}")
        raise typer.Exit


@app.callback()
def common(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Options before the command's name."""
    if debug:
        os.environ["VLSEG_DEBUG"] = "1"


def main(arguments: list[str] | None = None) -> None:
    """The entry point: what goes wrong ends with one line on stderr.

    Exit code 2: wrong input, a wrong command line, or a file that the system cannot read or write. 1: the work found
    a problem. 130: Ctrl-C.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a name that is no text in this encoding stops no command
    try:
        code = app(arguments, standalone_mode=False)
    except Exception as error:
        told = _told(error)
        if told is None or os.environ.get("VLSEG_DEBUG"):
            raise
        line, code = told
        _close_stdout()
        if _tells(error):
            shown = line.encode("utf-8", "backslashreplace").decode()
            typer.echo(f"vlseg: {' '.join(shown.split())}", err=True)
    sys.exit(code if isinstance(code, int) else 0)


def _told(error: Exception) -> tuple[str, int] | None:
    """The line for an error and the exit code; None for an error of ours."""
    if isinstance(error, InputError):
        return str(error), 2
    if isinstance(error, FloatingPointError | LostProcessError):  # a training that ended; its run.json says so too
        return str(error), 1
    if isinstance(error, _CLICK_ERROR):
        context = getattr(error, "ctx", None)
        where = f"{context.command_path} --help" if context is not None else "vlseg --help"
        return f"{_message(error)} (see {where})", 2
    if isinstance(error, OSError):
        return from_system(error, "standard output"), 2
    if isinstance(error, UnicodeEncodeError):
        start = max(0, error.start - 40)
        shown = str(error.object)[start : error.end + 40]
        return f"a name holds bytes that are not UTF-8 text (...{shown}...); rename that file or folder", 2
    return None


def _tells(error: Exception) -> bool:
    """Of several processes the first one tells what ended all; the second one does where the first is gone."""
    try:
        place = started_place()
    except InputError:  # which is what is told
        return True
    return place is None or place.rank == 0 or (place.rank == 1 and isinstance(error, LostProcessError) and error.first)


def _message(error: Exception) -> str:
    """A usage error with the option it is about, as click words it."""
    format_message: Callable[[], str] = getattr(error, "format_message", lambda: str(error))
    return format_message()


def _close_stdout() -> None:
    """What cannot be written any more must not raise again when the interpreter ends."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
