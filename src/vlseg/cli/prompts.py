"""vlseg prompts ..."""

from pathlib import Path
from typing import Annotated

import typer

from vlseg.cli.options import Json, Target, finish
from vlseg.records import verdict

prompts_app = typer.Typer(help="Prompts and where their words come from.", no_args_is_help=True)


@prompts_app.callback()
def _group() -> None:
    """Keeps `show` a sub-command."""


@prompts_app.command()
def show(
    dataset: Annotated[Path, typer.Argument(help="Dataset folder.")], target: Target = None, json: Json = False
) -> None:
    """The dataset's prompts: name, sources, whether a user could write them without seeing the truth, examples."""
    from vlseg.studies.prompts import show_prompts

    rows = show_prompts(dataset, target)
    lines = []
    for row in rows:
        alias = f" ({row['alias']})" if row["alias"] else ""
        lines.append(f"{row['name']}{alias}: {verdict(row['sources'])}; sources {', '.join(row['sources'])}")
        lines.append(f'    {row["wordings"]} wordings, longest {row["max_words"]} words, e.g. "{row["example"]}"')
    finish("prompts show", {"dataset": str(dataset), "prompts": rows}, lines, as_json=json)
