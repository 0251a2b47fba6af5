"""vlseg mcp"""

from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from vlseg.cli.options import Device, Engine, ModelSettings, Precision, Threads
from vlseg.records import InputError


def mcp(
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Run folder, model folder, hub id or model name; NAME=SOURCE names it.", metavar="RUN_OR_MODEL..."
        ),
    ],
    allow: Annotated[
        list[Path] | None,
        typer.Option(help="A folder that images may be read from; give it again for more. Default: this folder."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="A folder that masks may be written to; default: none are.")] = None,
    settings: ModelSettings = None,
    device: Device = "auto",
    precision: Precision = "fp32",
    engine: Engine = None,
    threads: Threads = None,
) -> None:
    """Tools for agents over the Model Context Protocol, on standard input and output; an agent's program starts it."""
    try:
        import_module("mcp_types")
        import_module("mcp.server.lowlevel")
    except ImportError as error:
        raise InputError("mcp: the package mcp (2.3) is not installed here; pip install 'vlseg[mcp]'") from error
    from vlseg.jobs.settings import model_settings
    from vlseg.serve.agents import serve_agents

    serve_agents(
        sources,
        {
            "device": device,
            "precision": precision,
            "threads": threads,
            "engine": engine,
            **model_settings(settings or []),
        },
        readable=allow or [Path()],
        written=out,
    )
