"""vlseg prompts ..."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from vlseg.cli.options import Device, Json, Target, finish
from vlseg.records import verdict

prompts_app = typer.Typer(help="Prompts and where their words come from.", no_args_is_help=True)


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


@prompts_app.command()
def make(
    dataset: Annotated[Path, typer.Argument(help="Dataset folder.")],
    out: Annotated[Path, typer.Option(help="New folder for the annotations; images and masks stay where they are.")],
    template: Annotated[
        str, typer.Option(help="default, echocardiography, chest-xray, breast-ultrasound, or a YAML file.")
    ] = "default",
    measure: Annotated[
        Literal["mask", "prediction", "nothing"],
        typer.Option(help="What size, number, location, shape and colour are measured on."),
    ] = "mask",
    deployable: Annotated[
        bool, typer.Option("--deployable", help="Only words that a user could write without seeing the truth.")
    ] = False,
    run: Annotated[str | None, typer.Option(help="The model of --measure prediction: a run or model folder.")] = None,
    table: Annotated[Path | None, typer.Option(help="CSV: file, and a column name:source per attribute.")] = None,
    vqa: Annotated[
        str | None, typer.Option(help="Question-answering model for shape and colour: folder or hub id.")
    ] = None,
    published_location: Annotated[
        bool, typer.Option("--published-location", help="Location words exactly as in MedVLSM's BUSI texts.")
    ] = False,
    target: Target = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Write prompts for any dataset by a template, from its attributes, and record where every word came from."""
    from vlseg.studies.cards import with_bar
    from vlseg.studies.make_prompts import MakeOptions, make_prompts

    options = MakeOptions(
        template=template,
        measure=measure,
        run=run,
        table=table,
        vqa=vqa,
        deployable=deployable,
        published_location=published_location,
        device=device,
    )
    made = make_prompts(dataset, out, options, target=target, progress=lambda items: with_bar(items, "describing"))
    lines = []
    for row in made.prompts:
        sources = [str(source) for source in row["sources"]]  # type: ignore[attr-defined]
        lines.append(f'{row["name"]}: {verdict(sources)}; {row["wordings"]} wordings, e.g. "{row["example"]}"')
    if made.left_out:
        lines.append(f"left out, no attribute known: {', '.join(made.left_out)}")
    lines.append(f"written: {out}; train with --data {out} --prompt NAME")
    values = {"path": str(out), "prompts": list(made.prompts), "left_out": list(made.left_out)}
    finish("prompts make", values, lines, as_json=json)
