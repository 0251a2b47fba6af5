"""vlseg study ..."""

import time
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from vlseg.cli.options import Images, Json, finish, say

study_app = typer.Typer(help="A whole grid of runs out of one file.", no_args_is_help=True)

Source = Annotated[str, typer.Argument(help="A study file, the name of a built-in study, or a study's folder.")]
Folder = Annotated[Path, typer.Argument(help="The folder of a study.")]


@study_app.command()
def run(
    source: Source,
    out: Annotated[Path | None, typer.Option(help="The study's folder; default studies/NAME.")] = None,
    scale: Annotated[
        Literal["full", "tiny"], typer.Option(help="tiny: all of it, on small made-up images with small networks.")
    ] = "full",
    protocol: Annotated[Literal["corrected", "published"] | None, typer.Option(help="Training settings.")] = None,
    data: Annotated[list[str] | None, typer.Option(help="Where a dataset lies.", metavar="NAME=FOLDER")] = None,
    data_root: Annotated[Path | None, typer.Option(help="Where all datasets lie, each under its name.")] = None,
    weights: Annotated[
        list[str] | None, typer.Option(help="Weights of a model of the study.", metavar="MODEL=ID|PATH")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="A setting of every training, over the file's.", metavar="KEY=VALUE"),
    ] = None,
    seed: Annotated[list[int] | None, typer.Option(help="Seeds instead of the study's; again for each.")] = None,
    part: Annotated[list[str] | None, typer.Option(help="Run this part alone; again for each.")] = None,
    skip_missing: Annotated[
        bool, typer.Option("--skip-missing", help="Run what is possible without data or weights that are missing.")
    ] = False,
    retry: Annotated[bool, typer.Option("--retry", help="Try failed runs again.")] = False,
    redo: Annotated[list[str] | None, typer.Option(help="Do runs of this name or pattern again.")] = None,
    plan_only: Annotated[
        bool, typer.Option("--plan", help="Show the plan; run nothing, and change nothing of a study that is there.")
    ] = False,
    workers: Annotated[
        int | None, typer.Option(help="Runs at once; default: one a GPU, else one a core.", min=1)
    ] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads of each worker.", min=1)] = None,
    memory: Annotated[
        float | None, typer.Option(help="GiB that a worker may take; a run that wants more fails.")
    ] = None,
    no_estimate: Annotated[
        bool, typer.Option("--no-estimate", help="Do not measure how long it will take, and how much disk.")
    ] = False,
    executor: Annotated[
        Literal["local", "slurm"], typer.Option(help="Processes of this machine, or workers on a Slurm cluster.")
    ] = "local",
    slurm: Annotated[
        list[str] | None,
        typer.Option("--slurm", help="What workers on the cluster get: partition=gpu, gpus=1.", metavar="KEY=VALUE"),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="On a cluster: stay until the workers have ended.")] = False,
    images: Images = True,
    json: Json = False,
) -> None:
    """Run a study; killed or stopped, the same command goes on with it."""
    from vlseg.jobs.settings import parse_setting
    from vlseg.records import InputError
    from vlseg.records.study import Plan
    from vlseg.studies.estimate import estimate
    from vlseg.studies.grow import searching
    from vlseg.studies.local import LocalOptions, resources_for
    from vlseg.studies.read import Changes, changed, read_study
    from vlseg.studies.report import write_study_report
    from vlseg.studies.run import MissingError, RunOptions, prepare, run_study
    from vlseg.studies.show import duration, estimate_values, json_values, live, plan_lines, status_lines
    from vlseg.studies.status import status
    from vlseg.studies.tiny import at_tiny_scale

    _check_executor(executor, slurm, wait=wait, local={"--workers": workers, "--threads": threads, "--memory": memory})
    spec = changed(
        read_study(source),
        Changes(
            protocol=protocol,
            data=dict(_pair(one, "--data", "NAME=FOLDER") for one in data or []),
            data_root=data_root,
            weights=dict(_pair(one, "--weights", "MODEL=ID|PATH") for one in weights or []),
            set=dict(parse_setting(one) for one in settings or []),
            seeds=tuple(seed or ()),
            parts=tuple(part or ()),
            slurm=dict(parse_setting(one, "--slurm") for one in slurm or []),
        ),
    )
    if (part or seed) and (Path(source) / "plan.json").exists():
        raise InputError(
            f"{'--part' if part else '--seed'}: give the study's file or name; {source} would keep nothing of the rest"
        )
    folder = out or _place(source, spec.name if scale == "full" else f"{spec.name}-{scale}")
    if not images:
        spec = spec.model_copy(update={"pictures": False})
    if scale == "tiny":
        spec = at_tiny_scale(spec, folder)
    options = RunOptions(skip_missing, retry, tuple(redo or ()))
    begin = time.monotonic()
    try:
        look = plan_only and (folder / "plan.json").exists()  # a study in force stays as it is
        plan = prepare(spec, folder, options, look=look)
    except MissingError as error:
        for line in error.lines:
            say(f"vlseg: {line}")
        say(f"vlseg: {len(error.lines)} missing; --skip-missing runs the rest")
        raise typer.Exit(2) from error
    local = LocalOptions(workers, threads, memory)
    before = status(folder, plan)
    here = executor == "local"  # what this machine needs says nothing of a cluster's nodes
    measured = here and not no_estimate and not look and before.left
    found = estimate(folder, plan, resources_for(local)) if measured else None
    for line in plan_lines(plan, folder, found, before.ahead):
        say(line)
    values: dict[str, Any] = {"study": str(folder), "estimate": estimate_values(found, before.ahead)}
    if plan_only:
        finish("study run", {**values, **json_values(status(folder, plan))}, [], as_json=json)
        return
    if executor == "slurm":
        from vlseg.studies.slurm import ask_for_workers, wait_for_workers

        jobs = ask_for_workers(folder, plan, say)
        if not wait:
            finish("study run", {**values, "jobs": jobs, **json_values(status(folder, plan))}, [], as_json=json)
            return
        after = wait_for_workers(folder, plan, say)
    else:
        with live() as show:
            after = run_study(folder, plan, local, show)
    seconds = time.monotonic() - begin
    plan = Plan.read(folder)  # a search has added runs
    written = write_study_report(folder, plan)
    undone = after.left + searching(plan)
    lines = [*status_lines(after), f"{duration(seconds)}; runs: {folder / 'runs'}; report: {written.page}"]
    if undone:
        lines.append(f"stopped; go on with: vlseg study run {folder}{' --executor slurm' * (executor == 'slurm')}")
    values |= {"report": str(written.page), "tables": str(written.tables)}
    values |= {"wall_seconds": round(seconds, 1), **json_values(after)}
    finish("study run", values, lines, as_json=json)
    raise typer.Exit(130 if undone else 1 if after.counts["failed"] else 0)


def _check_executor(executor: str, slurm: list[str] | None, *, wait: bool, local: dict[str, Any]) -> None:
    """That options fit the executor, and that it is there."""
    from vlseg.records import InputError

    given = [option for option, value in local.items() if value is not None]
    if executor == "slurm" and given:
        raise InputError(f"{given[0]}: is of --executor local; on a cluster --slurm workers=N, cpus=N, memory_gib=N")
    if executor == "local" and (slurm or wait):
        raise InputError(f"{'--slurm' if slurm else '--wait'}: is of a cluster; add --executor slurm")
    if executor == "slurm":
        from vlseg.studies.slurm import check_slurm

        check_slurm()


def _place(source: str, name: str) -> Path:
    return Path(source) if Path(source).is_dir() else Path("studies") / name


def _pair(text: str, option: str, form: str) -> tuple[str, str]:
    from vlseg.records import InputError

    key, equals, value = text.partition("=")
    if not equals or not key or not value:
        raise InputError(f"{option}: '{text}' is not of the form {form}")
    return key, value


@study_app.command("status")
def show_status(
    study: Folder,
    watch: Annotated[
        bool, typer.Option("--watch", help="Show it anew every two seconds until the study is through.")
    ] = False,
    runs: Annotated[bool, typer.Option("--runs", help="A line for each run.")] = False,
    json: Json = False,
) -> None:
    """How far a study is, who works on it, and what failed."""
    from vlseg.records.ledger import state_of
    from vlseg.records.study import Plan
    from vlseg.studies.show import json_values, live, status_lines
    from vlseg.studies.slurm_queue import slurm_lines
    from vlseg.studies.status import status

    plan = Plan.read(study)
    found = status(study, plan)
    if watch:
        with live() as show:
            while found.left:
                show(found)
                time.sleep(2.0)
                plan = Plan.read(study)
                found = status(study, plan)
    lines = [*status_lines(found), *slurm_lines(study)]
    if runs:
        states = {run.name: at.state if (at := state_of(study, run.name)) else "planned" for run in plan.runs}
        lines += [f"{state:<12}{name}" for name, state in states.items()]
    finish("study status", {"study": str(study), **json_values(found)}, lines, as_json=json)


@study_app.command("list")
def show_list(json: Json = False) -> None:
    """The studies that come with vlseg."""
    from vlseg.studies.read import built_in, read_study

    specs = {name: read_study(name) for name in built_in()}
    rows = [
        {"name": name, "title": spec.title, "note": spec.note, "file": str(built_in()[name])}
        for name, spec in specs.items()
    ]
    width = max((len(name) for name in specs), default=0)
    lines = [f"{row['name']:<{width}}  {row['title']}" for row in rows]
    finish("study list", {"studies": rows}, lines, as_json=json)


@study_app.command()
def prune(study: Folder, json: Json = False) -> None:
    """Delete the results of runs that the study does not want any more."""
    from vlseg.studies.run import prune as forget

    names = forget(study)
    finish("study prune", {"study": str(study), "removed": names}, [*names, f"{len(names)} removed"], as_json=json)


@study_app.command()
def schema() -> None:
    """The JSON schema of a study file, for editors and checks."""
    from vlseg.studies.read import schema as text

    typer.echo(text(), nl=False)
