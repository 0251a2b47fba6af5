"""NIfTI and MetaImage files as 2-D pictures. Needs the `volumes` extra (SimpleITK)."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vlseg.records import InputError


def simple_itk() -> Any:
    """SimpleITK, imported when first needed.

    Raises:
        InputError: it is not installed.
    """
    try:
        import SimpleITK
    except ImportError as error:
        raise InputError("SimpleITK is not installed, which this needs: pip install 'vlseg[volumes]'") from error
    return SimpleITK


def read_slice(files: Mapping[str, bytes], name: str) -> tuple[NDArray[Any], tuple[float, float]]:
    """The picture (H, W) in a volume of one slice, and its (y, x) spacing in mm.

    Args:
        files: contents by plain file name: the volume, and for .mhd its .raw or .zraw.
        name: the volume's among them (.nii, .nii.gz, .mhd).

    Raises:
        InputError: it cannot be read, or has more than one slice.
    """
    itk = simple_itk()
    with tempfile.TemporaryDirectory() as folder:
        for file, content in files.items():
            (Path(folder) / Path(file).name).write_bytes(content)
        try:
            volume = itk.ReadImage(str(Path(folder) / name))
        except RuntimeError as error:
            raise InputError(f"{name}: cannot be read as a volume; download it again") from error
    array = np.asarray(itk.GetArrayFromImage(volume))
    while array.ndim > 2 and array.shape[0] == 1:
        array = array[0]
    if array.ndim != 2:
        raise InputError(f"{name}: has {array.shape[0]} slices; only single pictures are read")
    spacing = volume.GetSpacing()
    return array, (float(spacing[1]), float(spacing[0]))
