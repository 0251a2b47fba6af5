"""vlseg merge"""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from vlseg.cli.options import Json, ModelSettings, Threads, finish


def merge(
    source: Annotated[
        str, typer.Argument(help="Run or model folder of a regime that adds weights.", metavar="RUN_OR_MODEL")
    ],
    out: Annotated[Path, typer.Option(help="A new folder for the plain model.")],
    settings: ModelSettings = None,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Fold what LoRA added into the weights: a plain model, which answers the same to rounding."""
    from vlseg.jobs.merge import merge_into
    from vlseg.jobs.settings import model_settings
    from vlseg.models.device import set_threads

    set_threads(threads)
    done = merge_into(source, out, **model_settings(settings or []))
    line = (
        f"{out}: a plain '{done.model}'; its logits differ from those with '{done.regime}' beside by up to "
        f"{done.largest_difference:.2g} (they reach {done.largest_logit:.2g})"
    )
    finish("merge", {"folder": str(out), **asdict(done)}, [line], as_json=json)
