"""vlseg cache ..."""

from pathlib import Path
from typing import Annotated

import typer

from vlseg.cli.options import Json, finish

cache_app = typer.Typer(
    help="Features of images that --cache DIR keeps, and graphs that --engine keeps.", no_args_is_help=True
)

Folder = Annotated[
    Path | None, typer.Argument(help="The cache's folder; default: that of the graphs, which VLSEG_CACHE names.")
]


@cache_app.command()
def info(folder: Folder = None, json: Json = False) -> None:
    """What a cache holds: by encoder or model, how many files and bytes."""
    from vlseg.models.features import store_infos

    infos = store_infos(_chosen(folder))
    told = ("model", "holds", "features", "protocol", "image_size", "precision", "dtype", "device")
    rows = [
        {key: one.context.get(key) for key in told}
        | {"files": one.files, "bytes": one.bytes, "folder": str(one.folder), "shared_by": list(one.users)}
        for one in infos
    ]
    lines = [
        f"{', '.join(str(one.context[key]) for key in told if one.context.get(key) is not None)}: "
        f"{one.files} files, {one.bytes / 2**20:.1f} MiB"
        + (f", shared by {' | '.join(one.users)}" if len(one.users) > 1 else "")
        for one in infos
    ]
    finish("cache info", {"contexts": rows}, lines or ["empty"], as_json=json)


@cache_app.command()
def clear(folder: Folder = None, json: Json = False) -> None:
    """Delete what the cache holds, and nothing else that lies there."""
    from vlseg.models.features import clear_store

    freed = clear_store(_chosen(folder))
    finish("cache clear", {"bytes": freed}, [f"{freed / 2**20:.1f} MiB freed"], as_json=json)


def _chosen(folder: Path | None) -> Path:
    """The one that is named, or that of the graphs; where none was kept yet, that is said as of any other."""
    from vlseg.models.exported.opening import cache_folder

    return cache_folder() if folder is None else folder
