"""docs/adding-a-model.md followed to the letter: in the tree, and from a package outside."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

import vlseg
from vlseg.jobs.settings import config_from_options
from vlseg.models import (
    MODELS,
    Architecture,
    Published,
    Segmenter,
    Spec,
    as_module,
    load_model,
    retargeted,
)
from vlseg.models.folder import load_strictly
from vlseg.models.manifest import default_weights
from vlseg.models.tensors import network_in, read_tensors
from vlseg.models.unet.model import UNet
from vlseg.records import InputError

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
    assert "Dice" in done.stdout


def evaluate_published(path: list[Path], data: Path, folder: Path, *, as_file: bool) -> None:
    """Weights as their authors have them: the folder alone says what it is, a file needs the model's name."""
    folder.mkdir()
    weights = documented().build_colour().state_dict()
    torch.save({"state_dict": {f"net.{key}": value for key, value in weights.items()}}, folder / "colour.pth")
    (folder / "colour.json").write_text("{}")
    source = ["colour", "--weights", folder / "colour.pth"] if as_file else [folder]
    out = folder / "scores"
    done = run(path, "evaluate", *source, "--data", data, "--prompt", "p1", "--out", out, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert json.loads((out / "spec.json").read_text())["model"] == "colour"


@pytest.mark.slow
def test_in_the_tree(make_dataset: Callable[..., Path], tmp_path: Path) -> None:
    shutil.copytree(Path(vlseg.__file__).parent, tmp_path / "src" / "vlseg")
    models = tmp_path / "src" / "vlseg" / "models"
    (models / "colour").mkdir()
    (models / "colour" / "__init__.py").write_text(MODULE)
    registry = models / "registry.py"
    start = "MODELS: dict[str, str] = {\n"
    assert start in registry.read_text()
    registry.write_text(registry.read_text().replace(start, start + LINE))
    data = make_dataset()
    train_and_evaluate([tmp_path / "src"], data, tmp_path / "run")
    evaluate_published([tmp_path / "src"], data, tmp_path / "theirs", as_file=False)
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
    data = make_dataset()
    train_and_evaluate([place], data, tmp_path / "run")
    evaluate_published([place], data, tmp_path / "theirs", as_file=True)


def documented() -> ModuleType:
    """The page's module, under a name that it can be imported by."""
    if "documented_colour" not in sys.modules:
        module = ModuleType("documented_colour")
        exec(compile(MODULE, "docs/adding-a-model.md", "exec"), module.__dict__)
        sys.modules["documented_colour"] = module
    return sys.modules["documented_colour"]


def test_the_documented_model_keeps_the_contract() -> None:
    model = documented().build_colour(image_size=32)
    assert isinstance(model, Segmenter)
    output = model(model.prepare([torch.rand(3, 20, 50)]), model.tokenize(["bright disc"]))
    assert output.logits.shape == (1, 1, 32, 32)


class Stripes(UNet):
    """An architecture nobody here knows: a channel for each target, and a palette that lies beside the weights."""

    def __init__(self, spec: Spec, palette: str) -> None:
        super().__init__(spec)
        self.palette = Path(palette).read_text()

    def save(self, folder: Path) -> None:
        super().save(folder)
        (folder / "palette.txt").write_text(self.palette)


def build_stripes(
    *, palette: str, image_size: int = 32, targets: tuple[str, ...] = (), protocol: str = "corrected"
) -> Stripes:
    size = (image_size, image_size)
    spec = Spec(name="stripes", uses_text=False, image_size=size, targets=targets or ("any",), protocol=protocol)
    return Stripes(spec, palette)


def load_stripes(path: Path, *, protocol: str | None = None, image_size: int = 32) -> Stripes:
    found = network_in(read_tensors(path / "stripes.pth"), ("decoder.head.weight",))
    assert found is not None
    targets = tuple(json.loads((path / "config.json").read_text())["names"])
    model = build_stripes(palette=str(path / "palette.txt"), image_size=image_size, targets=targets)
    load_strictly(model, found.tensors, str(path))
    return model


STRIPES = Architecture(
    build=build_stripes,
    load=load_stripes,
    recognises=lambda folder, config: "stripes" in config,
    restored=lambda folder: {"palette": str(folder / "palette.txt")},
    initial=frozenset({"palette"}),
    protocols=("corrected", "striped"),
    published=(Published("someone/stripes", ("stripes.pth",), "MIT", "corrected"),),
    recipes={"published": {"learning_rate": 0.5}},
)


@pytest.fixture(params=["a line", "an entry point"])
def stripes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Known by nothing but one line in the dict, or one of another package's pyproject.toml."""
    module = ModuleType("stripes_models")
    module.STRIPES = STRIPES  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "stripes_models", module)
    if request.param == "a line":
        monkeypatch.setitem(MODELS, "stripes", "stripes_models:STRIPES")
    else:
        point = EntryPoint("stripes", "stripes_models:STRIPES", "vlseg.models")
        monkeypatch.setattr("vlseg.models.registry.entry_points", lambda group: [point])


@pytest.mark.usefixtures("stripes")
@torch.no_grad()
def test_an_architecture_is_recognised_saved_loaded_and_retargeted_by_what_it_says(tmp_path: Path) -> None:
    (tmp_path / "palette.txt").write_text("red")
    (tmp_path / "config.json").write_text(json.dumps({"stripes": 1, "names": ["vessel", "disc"]}))
    made = build_stripes(palette=str(tmp_path / "palette.txt"), targets=("vessel", "disc"))
    torch.save({"module.net." + key: value for key, value in made.state_dict().items()}, tmp_path / "stripes.pth")
    model = load_model(str(tmp_path))  # nobody says whose it is
    assert (model.spec.name, model.spec.targets) == ("stripes", ("vessel", "disc"))

    model.save(tmp_path / "saved")
    (tmp_path / "palette.txt").unlink()
    again = load_model(str(tmp_path / "saved"), arguments={"image_size": 48, "palette": "elsewhere"})
    assert (as_module(again).palette, again.spec.image_size) == ("red", (48, 48))
    assert all(torch.equal(tensor, made.state_dict()[key]) for key, tensor in as_module(again).state_dict().items())

    other = retargeted(again, ("nevus", "disc"), str(tmp_path / "saved"))
    assert torch.equal(as_module(other).decoder.head.weight[1], made.decoder.head.weight[1])
    assert not torch.equal(as_module(other).decoder.head.weight[0], made.decoder.head.weight[0])
    with pytest.raises(InputError, match=r"unknown argument of the saved stripes .*'colour' \(known: image_size\)"):
        load_model(str(tmp_path / "saved"), arguments={"colour": 3})

    assert default_weights("stripes") == "someone/stripes"
    config = config_from_options({"model": "stripes", "data": ["d"]}, [], recipe="published")
    assert config is not None
    assert config.learning_rate == 0.5


def test_asking_every_model_imports_no_large_library(tmp_path: Path) -> None:
    """Whose a folder is, what recipes and weights there are: known before anything is built."""
    program = (
        "import sys\nfrom pathlib import Path\nfrom vlseg.models.registry import MODELS, architecture_of, whose\n"
        "from vlseg.models.manifest import published\n"
        "assert whose(Path('/nowhere'), {'model_type': 'clipseg'}, None) == 'clipseg-rd64'\n"
        "assert len(published()) > 5 and all(architecture_of(name).recipes for name in MODELS)\n"
        "large = ('transformers', 'timm', 'segmentation_models_pytorch', 'open_clip', 'huggingface_hub')\n"
        "print([name for name in large if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_folder_of_nobodys_names_who_could_read_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no config\.json, and files that no model recognises; .*clipseg, .*cris"):
        load_model(str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(InputError, match=r"config\.json: is of model_type 'bert' that no model recognises"):
        load_model(str(tmp_path))


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (3, "no usable format_version, model"),
        ({"format_version": 1, "model": "unet", "protocol": "corrected", "targets": []}, "no usable arguments"),
        ({"format_version": 9, "model": "unet", "protocol": "a", "targets": [], "arguments": {}}, "update vlseg"),
        ({"format_version": 1, "model": "unett", "protocol": "a", "targets": [], "arguments": {}}, "mean 'unet'"),
    ],
)
def test_a_broken_saved_part_is_one_line(part: Any, words: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"vlseg": part}))
    with pytest.raises(InputError, match=words):
        load_model(str(tmp_path))
