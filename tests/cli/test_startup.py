"""The command line starts without the heavy libraries, and offers what it should."""

import subprocess
import sys

import pytest

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
