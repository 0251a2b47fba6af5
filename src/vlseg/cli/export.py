"""vlseg export"""

from pathlib import Path
from typing import Annotated, Any

import typer

from vlseg.cli.options import Json, Revision, Target, Threads, Weights, finish, say
from vlseg.records import InputError


def export(
    source: Annotated[
        str, typer.Argument(help="Run folder, model folder, hub id or model name.", metavar="RUN_OR_MODEL")
    ],
    form: Annotated[
        str, typer.Option("--format", help="hf: the model's own folder; onnx or openvino: graphs without PyTorch.")
    ],
    out: Annotated[Path, typer.Option(help="A new folder.")],
    weights_as: Annotated[str, typer.Option(help="Of graphs: fp32, fp16 or int8.")] = "fp32",
    computes: Annotated[str, typer.Option(help="openvino: f32, or bf16 where the processor has it.")] = "f32",
    data: Annotated[
        list[str] | None, typer.Option(help="Dataset folder to measure on; default: the run's own data.")
    ] = None,
    prompt: Annotated[str | None, typer.Option(help="Prompt name; default: the run's, or class.")] = None,
    target: Target = None,
    split: Annotated[str, typer.Option(help="Of the data.")] = "val",
    accept: Annotated[
        bool, typer.Option("--accept", help="Also what costs more than a point of Dice, or was not measured.")
    ] = False,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="image_size=N, protocol=NAME or model_arguments={...}.", metavar="KEY=VALUE"),
    ] = None,
    weights: Weights = None,
    revision: Revision = None,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Write a model so that it runs elsewhere, with a card and what it costs; checked against PyTorch first."""
    from vlseg.jobs.export import export as run
    from vlseg.jobs.export_asked import ExportOptions

    options = ExportOptions(
        format=form,
        weights=weights_as,
        computes=computes,
        data=tuple(data or ()),
        prompt=prompt,
        target=target,
        split=split,
        accept=accept,
        place=weights,
        revision=revision,
        threads=threads,
        **_settings(settings or []),
    )
    done = run(source, out, options)
    if done.problem is not None:
        say(f"vlseg: {done.problem}")
    finish("export", done.to_json(), done.lines(), as_json=json)
    raise typer.Exit(0 if done.problem is None else 1)


def _settings(given: list[str]) -> dict[str, Any]:
    """As of every command that loads a model, and image_size, which is one of the model's arguments."""
    from vlseg.jobs.settings import model_settings, parse_setting

    sizes = [text for text in given if text.startswith("image_size=")]
    found = model_settings([text for text in given if text not in sizes])
    for text in sizes:
        size = parse_setting(text)[1]
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise InputError(f"--set {text}: is no number of pixels; give a whole one, as in image_size=352")
        found["arguments"] = {**(found["arguments"] or {}), "image_size": size}
    return found
