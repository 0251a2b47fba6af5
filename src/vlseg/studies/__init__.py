"""Where model, data and prompt are joined: training runs, evaluations, the demo."""

from vlseg.studies.datasets import Pool, open_dataset, open_pool
from vlseg.studies.demo import DemoResult, run_demo
from vlseg.studies.evaluate import Evaluated, EvaluateOptions, evaluate_on, summary
from vlseg.studies.train import train_run

__all__ = [
    "DemoResult",
    "EvaluateOptions",
    "Evaluated",
    "Pool",
    "evaluate_on",
    "open_dataset",
    "open_pool",
    "run_demo",
    "summary",
    "train_run",
]
