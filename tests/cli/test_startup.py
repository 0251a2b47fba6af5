"""The command line starts without the heavy libraries, and offers what it should."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.helpers.exporting import exported

from vlseg.models import build_model

IMPORTS = {
    "vlseg.jobs.train": ("torch", "matplotlib"),
    "vlseg.jobs.predict": (
        "scipy.stats",
        "scipy.ndimage",
        "scipy.spatial",
        "transformers",
        "pandas",
        "matplotlib",
        "torch._dynamo",
    ),
    "vlseg.models": ("torch", "transformers"),
    "vlseg.studies.show": ("torch", "scipy", "pyarrow", "optuna"),
    "vlseg.studies.status": ("torch", "scipy", "pyarrow", "optuna"),
    "vlseg.training": ("lightning", "transformers", "torchmetrics", "torch._dynamo"),
}
"""What data, a wrong setting or the first mask need not wait for, and what training never does."""
COMMANDS = [
    "demo",
    "models",
    "data",
    "prompts",
    "train",
    "evaluate",
    "compare",
    "predict",
    "probe",
    "serve",
    "mcp",
    "attack",
    "robustness",
    "merge",
    "export",
    "report",
    "study",
    "cache",
]
HEAVY = ("torch", "transformers", "lightning", "matplotlib", "scipy", "pandas", "pyarrow", "PIL")


@pytest.mark.parametrize(
    "arguments", [[], *[[command] for command in COMMANDS], ["data", "check"], ["data", "phantom"]]
)
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    program = (
        "import sys\nimport vlseg\nfrom vlseg.cli import main\n"
        f"try:\n    main({[*arguments, '--help']!r})\nexcept SystemExit as stop:\n    assert not stop.code\n"
        f"print('HEAVY', [name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "HEAVY []"
    if not arguments:
        assert all(command in done.stdout for command in COMMANDS)


@pytest.mark.parametrize("module", IMPORTS)
def test_what_training_waits_for(module: str) -> None:
    program = f"import sys\nimport {module}\nprint([name for name in {IMPORTS[module]!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_an_exported_folder_answers_without_what_networks_need(tmp_path: Path) -> None:
    folder = exported(build_model("clipseg-tiny"), tmp_path / "graphs")
    Image.fromarray(np.zeros((40, 50, 3), np.uint8)).save(tmp_path / "image.png")
    asked = ["predict", str(folder), "--image", str(tmp_path / "image.png"), "--prompt", "a polyp"]
    asked += ["--out", str(tmp_path / "masks"), "--threads", "1"]
    needless = (
        "transformers",
        "tokenizers",
        "torchvision",
        "scipy.stats",
        "scipy.ndimage",
        "pandas",
        "matplotlib",
        "torch._dynamo",
        "sympy",
        "openvino",
        "onnx",
        "onnxscript",
    )
    program = (
        "import sys\nfrom vlseg.cli import main\nfrom vlseg.models.exported import opening, run\n"
        "opened, model = [], run.Model.__init__\n"
        "def opening_model(self, *given, **named):\n"
        "    opened.append('torch' in sys.modules)\n    model(self, *given, **named)\n"
        "run.Model.__init__ = opening_model\n"
        f"try:\n    main({asked!r})\nexcept SystemExit as stop:\n    assert not stop.code\n"
        f"print([name for name in {needless!r} if name in sys.modules], opened)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    # The graphs were opened once, before PyTorch was there.
    assert done.stdout.splitlines()[-1] == "[] [False]"
