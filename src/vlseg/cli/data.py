"""vlseg data ..."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from vlseg.cli.options import Json, Target, finish

data_app = typer.Typer(help="Datasets: check them, make phantoms.", no_args_is_help=True)


@data_app.command()
def check(
    paths: Annotated[list[Path], typer.Argument(help="Dataset folders.", metavar="PATH...")],
    target: Target = None,
    anns_only: Annotated[bool, typer.Option("--anns-only", help="Read annotations, not images or masks.")] = False,
    json: Json = False,
) -> None:
    """Look for what would spoil a result: missing files, leaks between splits, odd masks, prompts that clash."""
    from vlseg.data import check_dataset

    findings = check_dataset(paths, target=target, anns_only=anns_only)
    errors = sum(finding.severity == "error" for finding in findings)
    warnings = sum(finding.severity == "warning" for finding in findings)
    lines = []
    for finding in findings:
        where = "/".join(part for part in (finding.dataset, finding.split) if part)
        lines.append(f"{finding.severity:<8}{finding.code:<22}{where}  {finding.message}")
        lines += [f"        e.g. {example}" for example in finding.examples[:3]]
    lines.append(f"{errors} errors, {warnings} warnings, {len(findings) - errors - warnings} notes")
    values = {"errors": errors, "warnings": warnings, "findings": [finding.to_json() for finding in findings]}
    finish("data check", values, lines, as_json=json)
    raise typer.Exit(1 if errors else 0)


@data_app.command()
def phantom(
    out: Annotated[Path, typer.Option(help="New folder for the dataset.")],
    level: Annotated[Literal["easy", "hard"], typer.Option(help="easy is the demo's.")] = "easy",
    train: Annotated[int, typer.Option(help="Training images.", min=0)] = 400,
    val: Annotated[int, typer.Option(help="Validation images.", min=0)] = 50,
    test: Annotated[int, typer.Option(help="Test images.", min=0)] = 100,
    size: Annotated[int, typer.Option(help="Height and width in pixels.", min=32)] = 96,
    seed: Annotated[int, typer.Option(help="Same seed, same pixels.", min=0)] = 0,
    json: Json = False,
) -> None:
    """Draw a synthetic dataset whose images hold several targets, so that the prompt decides the mask."""
    from vlseg.data import write_phantoms

    counts = {"train": train, "val": val, "test": test}
    summary = write_phantoms(out, level=level, counts=counts, size=size, seed=seed)
    ceilings = {split: value for split, value in summary.text_blind_ceiling.items() if value is not None}
    lines = [f"{out}: {', '.join(f'{n} {split} entries' for split, n in summary.entries.items())}"]
    lines += [f"text-blind ceiling ({split}): Dice {value:.3f}" for split, value in ceilings.items()]
    values = {"path": str(out), "entries": summary.entries, "text_blind_ceiling": summary.text_blind_ceiling}
    finish("data phantom", values, lines, as_json=json)
