"""vlseg data ..."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from vlseg.cli.options import Json, Target, finish

data_app = typer.Typer(help="Datasets: list, show, prepare, check, convert, make phantoms.", no_args_is_help=True)


@data_app.command("list")
def list_(json: Json = False) -> None:
    """The datasets of the field that `prepare` knows."""
    from vlseg.jobs.cards import list_cards

    cards = list_cards()
    lines = []
    for card in cards:
        counts = ", ".join(f"{count} {split}" for split, count in card["counts"].items())
        lines.append(f"{card['name']:<16} {card['modality']:<22} {', '.join(card['targets'])[:40]:<41} {counts}")
    lines.append("vlseg data show NAME tells more; vlseg data prepare own is for your own images and masks")
    finish("data list", {"datasets": cards}, lines, as_json=json)


@data_app.command()
def show(
    dataset: Annotated[str, typer.Argument(help="Dataset name or folder.", metavar="NAME_OR_PATH")],
    target: Target = None,
    json: Json = False,
) -> None:
    """What is known of a dataset by name, or what a dataset folder holds."""
    from vlseg.jobs.cards import describe_dataset, show_card

    if Path(dataset).is_dir():
        values = describe_dataset(Path(dataset), target)
        finish("data show", {"path": dataset, **values}, _folder_lines(values), as_json=json)
        return
    values = show_card(dataset)
    lines = [f"{values['title']} ({values['name']})"]
    for key in ("modality", "licence", "page", "registration", "groups", "intensity", "citation"):
        lines.append(f"  {key}: {values[key]}")
    lines.append(f"  counts: {', '.join(f'{count} {split}' for split, count in values['counts'].items())}")
    for key in ("targets", "files", "prompts", "defects"):
        lines += [f"  {key}:", *(f"    {line}" for line in values[key])]
    lines.append(f"  symmetries for augmentation: {', '.join(values['symmetries']) or 'none'}")
    lines.append("  layouts of the source:")
    for structure in values["structures"]:
        lines.append(f"    {structure['about']} ({'seen' if structure['seen'] else 'unseen: built from descriptions'})")
    finish("data show", values, lines, as_json=json)


def _folder_lines(values: dict[str, Any]) -> list[str]:
    lines = [f"{values['name']}: targets {', '.join(values['targets']) or 'unknown'}"]
    if values["generator"]:
        told = ", ".join(f"{key} {value}" for key, value in values["generator"].items())
        lines.append(f"  a phantom, its images are made up: {told}")
    for split, entries in values["entries"].items():
        groups = f"{values['groups'][split]} groups" if values["groups"][split] else "groups unknown"
        bare = values["without_mask"][split]
        without = f"; {bare} entries without a mask" if bare else ""
        lines.append(f"  {split}: {entries} entries, {values['images'][split]} images, {groups}{without}")
    lines.append(f"  attributes: {', '.join(values['attributes']) or 'none'}")
    for row in values["prompts"]:
        lines.append(f'  prompt {row["name"]}: {", ".join(row["sources"])}, e.g. "{row["example"]}"')
    for pair, found in values["readers"].items():
        lines.append(f"  readers {pair}: Dice {found['dice']:.3f} over {found['n']} images")
    lines += [f"  not used: {line}" for line in values["left_out"]]
    lines.append(f"  fingerprint {values['fingerprint']}")
    return lines


@data_app.command()
def prepare(
    name: Annotated[str, typer.Argument(help="Dataset name (vlseg data list), or own.")],
    out: Annotated[Path, typer.Option(help="New folder for the dataset.")],
    source: Annotated[Path | None, typer.Option(help="The archive or folder you downloaded, or your own.")] = None,
    anns: Annotated[Path | None, typer.Option(help="Published annotation folder: its splits and prompts.")] = None,
    target: Annotated[
        str | None, typer.Option(help="own: what the masks show; of outlines with names, the one to keep.")
    ] = None,
    table: Annotated[
        Path | None, typer.Option(help="own: CSV or .xlsx with file, patient, site, attributes ...")
    ] = None,
    mask_map: Annotated[
        Path | None, typer.Option(help="own: YAML or JSON, value or colour of a label map to target.")
    ] = None,
    masks: Annotated[
        str | None, typer.Option(help="Where there are several sorts of masks: their folder, or a pattern.")
    ] = None,
    groups: Annotated[
        str | None, typer.Option(help="own: patients by the image's path: folder, or a regular expression.")
    ] = None,
    readers: Annotated[
        Literal["apart", "majority", "staple"], typer.Option(help="What becomes of several readers' masks.")
    ] = "apart",
    seed: Annotated[int, typer.Option(help="Of the split, where none is published.", min=0)] = 0,
    regroup: Annotated[
        bool, typer.Option("--regroup", help="Draw the split anew: patients and near-copies stand whole.")
    ] = False,
    json: Json = False,
) -> None:
    """Bring a download, or your own folder, to a checked dataset: paired, renamed, binarised, split by group."""
    from vlseg.jobs.cards import prepare_dataset
    from vlseg.jobs.check import check_data
    from vlseg.records import count_by_severity
    from vlseg.reports.check_groups import count_groups, group_findings

    done = prepare_dataset(
        name,
        source,
        out,
        anns=anns,
        target=target,
        table=table,
        mask_map=mask_map,
        masks=masks,
        groups=groups,
        readers=readers,
        seed=seed,
        regroup=regroup,
    )
    findings, statistics = check_data([out])
    counts = count_by_severity(findings)
    lines = [
        f"{out}: {done.images} images, {', '.join(f'{n} {split} entries' for split, n in done.entries.items())}"
        + (" (was there already, unchanged)" if done.unchanged else ""),
        f"  found as: {done.structure}" + ("" if done.seen else " (a layout we never saw real files of: look at some)"),
        *(f"  regrouped: {line}" for line in done.regrouped),
        *(f"  left out: {line}" for line in done.left_out),
        *(f"  readers {pair}: Dice {e.mean:.3f} over {e.n} images" for pair, e in done.agreement.items()),
        f"  check: {count_groups(group_findings(findings, statistics))}; see vlseg data check {out}",
    ]
    values = {
        "path": str(out),
        "entries": done.entries,
        "images": done.images,
        "structure": done.structure,
        "seen": done.seen,
        "regrouped": list(done.regrouped),
        "left_out": list(done.left_out),
        "readers": {pair: {"dice": e.mean, "ci95": e.ci95, "n": e.n} for pair, e in done.agreement.items()},
        "unchanged": done.unchanged,
        "check": counts,
    }
    finish("data prepare", values, lines, as_json=json)


@data_app.command()
def check(
    paths: Annotated[list[Path], typer.Argument(help="Dataset folders, used together.", metavar="PATH...")],
    target: Target = None,
    anns_only: Annotated[bool, typer.Option("--anns-only", help="Read annotations, not images or masks.")] = False,
    near: Annotated[bool, typer.Option(help="Compare all images with each other.")] = True,
    html: Annotated[Path | None, typer.Option(help="Write a page with pictures of what was found.")] = None,
    images: Annotated[bool, typer.Option("--images/--no-images", help="Whether the page has pictures.")] = True,
    fix: Annotated[Path | None, typer.Option(help="Write mended annotations and a log to this new folder.")] = None,
    json: Json = False,
) -> None:
    """Look for what would spoil a result: missing files, leaks between splits, odd masks, texts that tell the truth."""
    from vlseg.cli.check_lines import check_lines
    from vlseg.jobs.check import LOG, check_data, fix_annotations
    from vlseg.records import InputError, Looked, count_by_severity

    if fix is not None and len(paths) != 1:
        raise InputError("--fix: mends one dataset at a time; give one PATH")
    findings, statistics = check_data(paths, target=target, anns_only=anns_only, near=near)
    counts = count_by_severity(findings)
    looked = Looked(files=not anns_only, near=near)
    lines = check_lines(findings, statistics, looked)
    values: dict[str, Any] = {
        "errors": counts["error"],
        "warnings": counts["warning"],
        "findings": [finding.to_json() for finding in findings],
        "statistics": [one.to_json() for one in statistics],
    }
    if html is not None:
        from vlseg.jobs.check_pictures import draw_view
        from vlseg.reports.check_page import write_check_page

        write_check_page(findings, statistics, looked, html, draw=draw_view if images else None)
        lines.append(f"page: {html}")
    if fix is not None:
        log = fix_annotations(paths[0], fix)
        values["fixes"] = len(log)
        lines.append(f"mended: {len(log)} changes, listed in {fix / LOG}")
    finish("data check", values, lines, as_json=json)
    raise typer.Exit(1 if counts["error"] else 0)


@data_app.command()
def convert(
    source: Annotated[Path, typer.Argument(help="Dataset folder in any layout that is read.", metavar="SRC")],
    to: Annotated[Literal["medvlsm", "lvit", "coco", "nnunet"], typer.Option(help="The layout to write.")],
    out: Annotated[Path, typer.Option(help="New folder.")],
    target: Target = None,
    prompt: Annotated[str | None, typer.Option(help="lvit: the prompt whose text is written.")] = None,
    absent: Annotated[
        bool, typer.Option("--absent", help="From another layout: an empty mask of each target that an image lacks.")
    ] = False,
    json: Json = False,
) -> None:
    """Write a dataset in another layout; what that layout cannot hold is said."""
    from vlseg.jobs.convert import convert_dataset

    done = convert_dataset(source, to, out, target=target, prompt=prompt, absent=absent)
    lines = [f"{out}: {', '.join(f'{n} {split} entries' for split, n in done.entries.items())}"]
    lines += [f"  not kept: {line}" for line in done.dropped]
    values = {"path": str(out), "to": to, "entries": done.entries, "dropped": list(done.dropped)}
    finish("data convert", values, lines, as_json=json)


@data_app.command()
def phantom(
    out: Annotated[Path, typer.Option(help="New folder for the dataset.")],
    as_: Annotated[
        str | None,
        typer.Option("--as", help="Dress it as this dataset: its prompts, targets, groups, splits.", metavar="NAME"),
    ] = None,
    level: Annotated[Literal["easy", "hard"] | None, typer.Option(help="easy (usual) is the demo's.")] = None,
    train: Annotated[int | None, typer.Option(help="Training images; usual: 400, with --as 8.", min=0)] = None,
    val: Annotated[int | None, typer.Option(help="Validation images; usual: 50, with --as 4.", min=0)] = None,
    test: Annotated[int | None, typer.Option(help="Test images; usual: 100, with --as 6.", min=0)] = None,
    size: Annotated[int | None, typer.Option(help="Longer side in pixels; usual: 96, with --as 48.", min=32)] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same pixels.", min=0)] = 0,
    json: Json = False,
) -> None:
    """Draw a synthetic dataset: one where the prompt decides the mask, or one dressed as a dataset of the field."""
    from vlseg.phantoms import TINY_COUNTS, write_dressed, write_phantoms
    from vlseg.records import InputError

    usual = {"train": 400, "val": 50, "test": 100} if as_ is None else TINY_COUNTS
    given = {"train": train, "val": val, "test": test}
    counts = {split: usual[split] if count is None else count for split, count in given.items()}
    if as_ is not None:
        if level is not None:
            raise InputError("--level: a phantom dressed with --as has none; leave one of the two out")
        dressed = write_dressed(out, as_, counts, size or 48, seed)
        entries = ", ".join(f"{n} {split} entries" for split, n in dressed.entries.items())
        lines = [f"{out}: {entries}", f"a phantom dressed as {as_}: no number on it says anything about the real set"]
        finish("data phantom", {"path": str(out), "as": as_, "entries": dressed.entries}, lines, as_json=json)
        return
    summary = write_phantoms(out, level=level or "easy", counts=counts, size=size or 96, seed=seed)
    lines = [f"{out}: {', '.join(f'{n} {split} entries' for split, n in summary.entries.items())}"]
    for split, one in summary.ceilings.items():
        known = {"without the prompt": one.text_blind, "knowing its class alone": one.by_class}
        told = [f"{value:.3f} {what}" for what, value in known.items() if value is not None]
        lines.append(f"highest possible Dice ({split}): {', '.join(told)}" if told else f"{split}: {one.reason}")
    values = {
        "path": str(out),
        "entries": summary.entries,
        "text_blind_ceiling": {split: one.text_blind for split, one in summary.ceilings.items()},
        "class_ceiling": {split: one.by_class for split, one in summary.ceilings.items()},
    }
    finish("data phantom", values, lines, as_json=json)
