"""docs/adding-a-model.md followed to the letter: in the tree, and from a package outside."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import vlseg

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "adding-a-model.md").read_text()
MODULE, LINE = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
(ROW,) = re.findall(r"In `TINY` of `tests/helpers/tiny_models.py`: `(.*?)`", PAGE)
(ENTRY,) = re.findall(r"```toml\n(.*?)```", PAGE, flags=re.DOTALL)


def run(path: list[Path], *arguments: object) -> subprocess.CompletedProcess[str]:
    call = [sys.executable, "-c", "from vlseg.cli import main; main()", *(str(argument) for argument in arguments)]
    paths = os.pathsep.join(str(one) for one in path)
    return subprocess.run(call, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": paths}, check=False)


def train_and_evaluate(path: list[Path], data: Path, out: Path) -> None:
    flags = ("--device", "cpu", "--threads", 1)
    done = run(
        path,
        "train",
        "--model",
        "colour",
        "--data",
        data,
        "--prompt",
        "p1",
        "--out",
        out,
        "--set",
        "max_steps=4",
        *flags,
    )
    assert done.returncode == 0, done.stderr
    done = run(path, "evaluate", out, "--data", data, *flags)
    assert done.returncode == 0, done.stderr
    assert "dice" in done.stdout


@pytest.mark.slow
def test_in_the_tree(make_dataset: Callable[..., Path], tmp_path: Path) -> None:
    shutil.copytree(Path(vlseg.__file__).parent, tmp_path / "src" / "vlseg")
    models = tmp_path / "src" / "vlseg" / "models"
    (models / "colour").mkdir()
    (models / "colour" / "__init__.py").write_text(MODULE)
    registry = models / "__init__.py"
    start = "MODELS: dict[str, Entry] = {\n"
    assert start in registry.read_text()
    registry.write_text(registry.read_text().replace(start, start + LINE))
    train_and_evaluate([tmp_path / "src"], make_dataset(), tmp_path / "run")
    keeps_the_contract(tmp_path)


def keeps_the_contract(root: Path) -> None:
    """The page's row in the test table, and the table's columns for it."""
    tests = Path(__file__).resolve().parents[1]
    shutil.copytree(tests / "helpers", root / "helpers")
    shutil.copy(tests / "models" / "test_contract.py", root)
    table = root / "helpers" / "tiny_models.py"
    start = "TINY: dict[str, Mapping[str, Any]] = {\n"
    assert start in table.read_text()
    table.write_text(table.read_text().replace(start, f"{start}    {ROW},\n"))
    paths = os.pathsep.join([str(root / "src"), str(root / "helpers")])
    call = [sys.executable, "-m", "pytest", "-q", "-c", os.devnull, "-p", "no:cacheprovider", "-m", "slow or not slow"]
    done = subprocess.run(
        [*call, "-k", "colour or complete", str(root / "test_contract.py")],
        env={**os.environ, "PYTHONPATH": paths},
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert int(re.findall(r"(\d+) passed", done.stdout)[0]) >= 10


@pytest.mark.slow
def test_from_a_package_outside(make_dataset: Callable[..., Path], tmp_path: Path) -> None:
    place = tmp_path / "site"
    (place / "my_models").mkdir(parents=True)
    (place / "my_models" / "__init__.py").write_text("")
    (place / "my_models" / "colour.py").write_text(MODULE)
    info = place / "my_models-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-models\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(re.sub(r'project.entry-points."(.*)"', r"\1", ENTRY).replace('"', ""))
    train_and_evaluate([place], make_dataset(), tmp_path / "run")


def test_the_documented_model_keeps_the_contract(tmp_path: Path) -> None:
    import importlib.util

    import torch

    from vlseg.models import Segmenter

    (tmp_path / "colour.py").write_text(MODULE)
    spec = importlib.util.spec_from_file_location("colour", tmp_path / "colour.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model = module.build_colour(image_size=32)
    assert isinstance(model, Segmenter)
    output = model(model.prepare([torch.rand(3, 20, 50)]), model.tokenize(["bright disc"]))
    assert output.logits.shape == (1, 1, 32, 32)
