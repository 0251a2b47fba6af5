"""vlseg prompts ..."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from vlseg.cli.options import Data, Device, Images, Json, Target, Threads, finish
from vlseg.records import verdict

prompts_app = typer.Typer(help="Prompts and where their words come from.", no_args_is_help=True)


@prompts_app.command()
def show(
    dataset: Annotated[Path, typer.Argument(help="Dataset folder.")], target: Target = None, json: Json = False
) -> None:
    """The dataset's prompts: name, sources, whether a user could write them without seeing the truth, examples."""
    from vlseg.jobs.prompts import show_prompts

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
    from vlseg.jobs.cards import with_bar
    from vlseg.jobs.make_prompts import MakeOptions, make_prompts

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


@prompts_app.command()
def worth(
    data: Data,
    leaking: Annotated[
        list[str], typer.Option(help="Prompt that leaks the truth; or a run trained on one, again for each seed.")
    ],
    honest: Annotated[
        list[str], typer.Option(help="Prompt that a user could write; or a run trained on one, again for each seed.")
    ],
    model: Annotated[str | None, typer.Option(help="Of prompts: the model to train on both; default guide.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Of prompts: a setting of the training.", metavar="KEY=VALUE")
    ] = None,
    seeds: Annotated[
        list[int] | None, typer.Option("--train-seed", help="Of prompts: a seed of the training; default 0, 1, 2.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Of prompts: the study's folder; default studies/worth.")] = None,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    device: Device = "auto",
    threads: Threads = None,
    seed: Annotated[int, typer.Option(help="Of the choice of other images.", min=0)] = 0,
    images: Images = True,
    json: Json = False,
) -> None:
    """What a leak is worth: the leaking score minus that of models trained and tested on a deployable prompt.

    Between runs that are there, or between two prompts: then both are trained, as a study that goes on where it stopped
    when the same command is given again.
    """
    from vlseg.jobs.leak import leak_worth
    from vlseg.jobs.scoring import EvaluateOptions

    if any((Path(one) / "run.json").exists() for one in (*leaking, *honest)):
        options = EvaluateOptions(split=split, device=device, threads=threads, seed=seed, pictures=images)
        values = leak_worth(leaking, honest, data, options)
    else:
        given = {"model": model, "data": data, "device": device, "threads": threads}
        values = _trained_worth(given, settings or [], leaking, honest, seeds or [0, 1, 2], split, out, images)
    lines = [
        f"{values['dataset']} {split}: '{values['leaking_prompt']}' ({', '.join(values['leaking_sources'])}) against "
        f"'{values['honest_prompt']}' ({', '.join(values['honest_sources'])})",
        *(f"trained differently, too: {one}" for one in values["differs"]),
        "seed  leaking  honest   worth, samples compared      present targets: leaking / honest; "
        "leaking model: honest prompt / mean image / other image",
    ]
    for row in values["seeds"]:
        change = row["worth"]
        ci = change["ci95"]
        shown = f"[{ci[0]:+.3f}, {ci[1]:+.3f}]" if ci else f"({change['reason']})"
        present = (row["leaking_present"], row["honest_present"])
        rest = (row["leaking_model_honest_prompt_present"], row["blind_mean_image"], row["blind_other_image"])
        lines.append(
            f"{row['seed']:>4}  {_dice(row['leaking'])}    {_dice(row['honest'])}    {_signed(change['difference'])} "
            f"{shown:<22}   {_dices(present)}; {_dices(rest)}; n = {row['n']}, left out {sum(row['left_out'].values())}"
        )
    total = values["worth"]
    ci = total["ci95"]
    shown = f"95 % [{ci[0]:+.3f}, {ci[1]:+.3f}]" if ci else f"no interval over seeds: {total['reason']}"
    lines.append(f"worth of the leak over seeds: {_signed(total['mean'])}, {shown}")
    finish("prompts worth", values, lines, as_json=json)


def _dices(values: tuple[float | None, ...]) -> str:
    return " / ".join(_dice(value) for value in values)


def _dice(value: float | None) -> str:
    return "none " if value is None else f"{value:.3f}"


def _signed(value: float | None) -> str:
    return "none" if value is None else f"{value:+.3f}"


def _trained_worth(
    given: dict[str, Any],
    settings: list[str],
    leaking: list[str],
    honest: list[str],
    seeds: list[int],
    split: str,
    out: Path | None,
    images: bool,
) -> dict[str, Any]:
    """The worth between two prompts, by a study of both."""
    from vlseg.jobs.settings import options_from
    from vlseg.records import InputError
    from vlseg.studies.grid import worth_study
    from vlseg.studies.run import RunOptions, prepare, run_alone, values_of

    if len(leaking) != 1 or len(honest) != 1:
        raise InputError(
            "prompts worth: give one --leaking and one --honest prompt, or run folders, one pair for each seed"
        )
    spec = worth_study(options_from(given, settings), leaking[0], honest[0], seeds, split)
    spec = spec.model_copy(update={"pictures": images})
    folder = out or Path("studies") / "worth"
    plan = prepare(spec, folder, RunOptions(retry=True))
    found = run_alone(folder, plan)
    if found.failures:
        raise InputError(f"{folder}: {found.failures[0].name} failed: {found.failures[0].error}")
    values = [one for run in plan.runs if run.kind == "worth" for one in values_of(folder, run).values()]
    if not values:
        raise KeyboardInterrupt
    return values[0]
