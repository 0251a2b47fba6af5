"""vlseg serve"""

import json as json_text
from pathlib import Path
from typing import Annotated

import typer

from vlseg.cli.options import Device, Engine, Json, ModelSettings, Precision, Threads


def serve(
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Run folder, model folder, hub id or model name; NAME=SOURCE names it.", metavar="RUN_OR_MODEL..."
        ),
    ],
    host: Annotated[str, typer.Option(help="Address to listen on; others than this machine's own need TLS.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(help="0: a free one.", min=0, max=65535)] = 8000,
    settings: ModelSettings = None,
    device: Device = "auto",
    precision: Precision = "fp32",
    engine: Engine = None,
    threads: Threads = None,
    token_file: Annotated[Path | None, typer.Option(help="Holds the token; default: a new random one.")] = None,
    corrections: Annotated[
        Path | None, typer.Option(help="Dataset folder for masks that users correct; default: none are kept.")
    ] = None,
    behind_proxy: Annotated[
        bool, typer.Option("--behind-proxy", help="A proxy on the way speaks TLS; give --allow-host.")
    ] = False,
    certificate: Annotated[Path | None, typer.Option(help="PEM file, for TLS.")] = None,
    key: Annotated[Path | None, typer.Option(help="PEM file of the certificate's key.")] = None,
    allow_host: Annotated[
        list[str] | None, typer.Option(help="A name that the server is asked by; give it again for more.")
    ] = None,
    log_prompts: Annotated[bool, typer.Option("--log-prompts", help="Write prompts into the log.")] = False,
    json: Json = False,
) -> None:
    """The page and the API over one or several models. Prints the address with its token; Ctrl-C ends it."""
    from vlseg.jobs.settings import model_settings
    from vlseg.serve.server import Settings
    from vlseg.serve.server import serve as run

    def ready(address: str, models: list[str]) -> None:
        values = {"command": "serve", "url": address, "models": models}
        typer.echo(json_text.dumps(values) if json else address)

    run(
        sources,
        Settings(
            host=host,
            port=port,
            token_file=token_file,
            corrections=corrections,
            behind_proxy=behind_proxy,
            certificate=certificate,
            key=key,
            allow_hosts=tuple(allow_host or ()),
            log_prompts=log_prompts,
        ),
        {
            "device": device,
            "precision": precision,
            "threads": threads,
            "engine": engine,
            **model_settings(settings or []),
        },
        ready,
    )
