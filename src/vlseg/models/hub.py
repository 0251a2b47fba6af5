"""From what a user names (a path or a hub id) to files on this disk, or one line that says what to fetch."""

import hashlib
import warnings
from pathlib import Path

from vlseg.models.manifest import ANY_FILES, published, published_at
from vlseg.records import InputError


def locate(source: str, revision: str | None = None) -> Path:
    """The file or folder itself, or the local copy of a hub repository, fetched at its pinned revision if need be.

    Raises:
        InputError: neither there nor to be had; names the files to fetch and where to put them.
    """
    path = Path(source)
    if path.exists():
        _check_sum(path)
        return path
    if source.count("/") != 1 or source.startswith((".", "/", "~")) or path.suffix in WEIGHT_SUFFIXES:
        raise InputError(
            f"weights '{source}': no such file or folder, and not a hub id of the form owner/name{_hint(path)}"
        )
    return _snapshot(source, revision)


WEIGHT_SUFFIXES = (".pt", ".pth", ".ckpt", ".bin", ".safetensors")


def _hint(path: Path) -> str:
    """How to come by a published file of that name."""
    for known in published():
        if path.name in known.files and known.sha256:
            return f"; fetch {known.place} and give its path with --weights"
        if path.name in known.files and not known.on_hub:
            return f"; {known.note}"
    return ""


def _check_sum(path: Path) -> None:
    """Warn where a file has the name of a published one and other content: cut short, or not what it seems."""
    if not path.is_file():
        return
    for known in published():
        if known.sha256 and path.name in known.files:
            with path.open("rb") as stream:
                found = hashlib.file_digest(stream, "sha256").hexdigest()
            if found != known.sha256:
                warnings.warn(
                    f"{path}: is not the published {path.name} (its sha256 is {found[:12]}, not {known.sha256[:12]})",
                    stacklevel=3,
                )


def _snapshot(source: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download

    known = published_at(source)
    pinned = known.revision if known and source == known.place else None
    try:
        files = list(known.files if known else ANY_FILES)
        return Path(snapshot_download(source, revision=revision or pinned, allow_patterns=files))
    except Exception as error:  # the hub raises many kinds: offline, not found, gated, disk full
        wanted = ", ".join(known.files) if known else "config.json, model.safetensors, vocab.json and merges.txt"
        raise InputError(
            f"weights '{source}': no such file or folder, and as a hub id not in the local cache and not downloadable "
            f"here ({type(error).__name__}); "
            f"fetch its {wanted} into a folder and give that folder with --weights"
        ) from error
