"""The command line. Each command parses, calls one function and prints; heavy imports wait until then."""

import os
import sys
from typing import Annotated

import typer

from vlseg import __version__
from vlseg.cli.cache import cache_app
from vlseg.cli.compare import compare
from vlseg.cli.data import data_app
from vlseg.cli.demo import demo
from vlseg.cli.evaluate import evaluate
from vlseg.cli.models import models
from vlseg.cli.predict import predict
from vlseg.cli.probe import probe
from vlseg.cli.prompts import prompts_app
from vlseg.cli.report import report
from vlseg.cli.train import train
from vlseg.records import InputError

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
    """The entry point: wrong input ends with one line on stderr and exit code 2."""
    try:
        app(arguments)
    except InputError as error:
        if os.environ.get("VLSEG_DEBUG"):
            raise
        typer.echo(f"vlseg: {' '.join(str(error).split())}", err=True)
        sys.exit(2)
    except FloatingPointError as error:  # a training that diverged; its run.json says so too
        if os.environ.get("VLSEG_DEBUG"):
            raise
        typer.echo(f"vlseg: {error}", err=True)
        sys.exit(1)
