"""The libraries behind `trackers`, each imported when a run asks for it and told to keep to this machine.

By default TensorBoard, MLflow and W&B write into the run's folder (RUN/trackers), and trackio into its own database on
this machine. Their usage statistics and error reports are switched off unless their variables are set already.
"""

import json
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from vlseg.records import read_json, write_text

Point = tuple[int, Mapping[str, float]]
"""A step and its metrics by name."""
PROJECT = "vlseg"


@dataclass(frozen=True)
class Tracked:
    """A run as trackers know it.

    Attributes:
        id: 32 hexadecimal digits, the same over all sittings.
        name: shown to people; may change when the run's folder is renamed.
        folder: for what is kept in the run's folder.
        settings: the run's configuration under dotted names.
    """

    id: str
    name: str
    folder: Path
    settings: Mapping[str, Any]


class Tracker(Protocol):
    """An open tracker. Each function may raise whatever its library raises."""

    def seen(self) -> Mapping[str, int]:
        """The last step of each metric that an earlier sitting wrote."""
        ...

    def log(self, points: Sequence[Point]) -> None:
        """Write the points, in order of their steps; they are kept when this returns, even if the process is killed."""
        ...

    def close(self, status: str | None) -> None:
        """Finish; `status` as in run.json, None = leave it as it was."""
        ...


@dataclass(frozen=True)
class Library:
    """How a tracker is opened, and the modules that must be installed."""

    open: Callable[[Tracked], Tracker]
    modules: tuple[str, ...]

    def installed(self) -> bool:
        """Whether all of them are."""
        return all(find_spec(module) is not None for module in self.modules)


class _TensorBoard:
    """Event files in RUN/trackers/tensorboard; settings in the HPARAMS tab."""

    def __init__(self, run: Tracked) -> None:
        from torch.utils.tensorboard import SummaryWriter
        from torch.utils.tensorboard.summary import hparams

        self._folder = run.folder / "tensorboard"
        self._earlier = sorted(self._folder.glob("events.*"))
        self._writer = SummaryWriter(str(self._folder))
        plain = (str, int, float, bool)
        settings = {key: value if isinstance(value, plain) else str(value) for key, value in run.settings.items()}
        summaries = hparams(settings, {"summary/best_val_dice": 0.0})
        for summary in () if self._earlier else summaries[:2]:
            self._writer.file_writer.add_summary(summary)
        self._end = summaries[2]

    def seen(self) -> Mapping[str, int]:
        from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

        found: dict[str, int] = {}
        for path in self._earlier:
            for event in EventFileLoader(str(path)).Load():  # a half-written last record ends it
                for value in event.summary.value:
                    found[value.tag] = max(event.step, found.get(value.tag, -1))
        return found

    def log(self, points: Sequence[Point]) -> None:
        for step, values in points:
            for name, value in values.items():
                self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self, status: str | None) -> None:
        if status == "done":
            self._writer.file_writer.add_summary(self._end)
        self._writer.close()


class _MLflow:
    """RUN/trackers/mlflow.db (SQLite), or where MLFLOW_TRACKING_URI says; experiment MLFLOW_EXPERIMENT_NAME or vlseg.

    The run is found again by its tag `vlseg.id`.
    """

    def __init__(self, run: Tracked) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        # A server that is gone would be waited for a quarter of an hour.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        from mlflow import MlflowClient
        from mlflow.entities import Param

        for name in ("mlflow.store.db.utils", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)
        place = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{(run.folder / 'mlflow.db').absolute()}"
        self._client = MlflowClient(tracking_uri=place)
        experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME") or PROJECT
        known = self._client.get_experiment_by_name(experiment)
        number = known.experiment_id if known else self._client.create_experiment(experiment)
        earlier = self._client.search_runs([number], f"tags.`vlseg.id` = '{run.id}'")
        self._resumed = bool(earlier)
        if earlier:
            self._id = earlier[0].info.run_id
            return
        self._id = self._client.create_run(number, run_name=run.name, tags={"vlseg.id": run.id}).info.run_id
        params = [Param(key, str(value)[:6000]) for key, value in run.settings.items()]  # longer ones are refused
        for start in range(0, len(params), 100):
            self._client.log_batch(self._id, params=params[start : start + 100])

    def seen(self) -> Mapping[str, int]:
        if not self._resumed:
            return {}
        metrics = self._client.get_run(self._id).data.metrics
        return {
            name: max(metric.step for metric in self._client.get_metric_history(self._id, name)) for name in metrics
        }

    def log(self, points: Sequence[Point]) -> None:
        from mlflow.entities import Metric

        now = time.time_ns() // 1_000_000
        metrics = [Metric(name, value, now, step) for step, values in points for name, value in values.items()]
        for start in range(0, len(metrics), 1000):
            self._client.log_batch(self._id, metrics=metrics[start : start + 1000])

    def close(self, status: str | None) -> None:
        told = {"done": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}
        if status is not None:
            self._client.set_terminated(self._id, told[status])


class _Trackio:
    """trackio's database on this machine (TRACKIO_DIR, or its own folder), project vlseg.

    Written through its storage: `trackio.init` asks the hub whose token is stored here, logs the machine's load, and
    writes later from a thread. TRACKIO_SPACE_ID and TRACKIO_SERVER_URL are not followed.
    """

    def __init__(self, run: Tracked) -> None:
        from trackio.sqlite_storage import SQLiteStorage
        from trackio.utils import TRACKIO_DIR, get_storage_mode

        if get_storage_mode() != "sqlite":
            raise OSError(
                f"{TRACKIO_DIR} is on a network file system; set TRACKIO_DIR to a folder on a disk of this one"
            )
        self._storage, self._run = SQLiteStorage, run
        settings = json.loads(json.dumps(run.settings, default=str))
        created = {"_Username": None, "_Group": None, "_Created": datetime.now(UTC).isoformat()}
        self._settings = {**settings, **created}

    def seen(self) -> Mapping[str, int]:
        found: dict[str, int] = {}
        for row in self._storage.get_logs(PROJECT, self._run.name, run_id=self._run.id):
            for name in row:
                found[name] = max(row["step"], found.get(name, -1))
        return found

    def log(self, points: Sequence[Point]) -> None:
        self._storage.bulk_log(
            PROJECT,
            self._run.name,
            [dict(values) for _, values in points],
            [step for step, _ in points],
            config=self._settings,
            run_id=self._run.id,
        )

    def close(self, status: str | None) -> None:
        """Nothing is open."""


class _WandB:
    """RUN/trackers/wandb (or WANDB_DIR), offline unless WANDB_MODE says otherwise.

    Every sitting has a folder of its own there, of one run id: `wandb sync` joins them. Its files cannot be asked for
    what they hold, so that is noted beside them, before it is written: nothing is written twice, and a kill may lose
    the rows of the last tenth of a second. W&B's own count grows with every row over all sittings, because it takes
    each number once and holds a row back until the next; `step` is the axis.
    """

    def __init__(self, run: Tracked) -> None:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        # A parent's service would take a killed run for one that goes on, and may end before this process does.
        os.environ.pop("WANDB_SERVICE", None)
        import wandb

        self._note = run.folder / "wandb-told.json"
        told: Any = read_json(self._note, "") if self._note.exists() else {"rows": 0, "seen": {}}
        self._rows: int = told["rows"]
        self._seen: dict[str, int] = told["seen"]
        mode: Any = os.environ.get("WANDB_MODE") or "offline"
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or PROJECT,
            id=run.id,
            name=run.name,
            config=dict(run.settings),
            dir=os.environ.get("WANDB_DIR") or str(run.folder),
            mode=mode,
            resume="allow",
            reinit="create_new",
            settings=wandb.Settings(
                silent=True,
                console="off",
                disable_git=True,
                disable_code=True,
                save_code=False,
                x_disable_meta=True,
                x_disable_stats=True,
                x_disable_machine_info=True,
                x_save_requirements=False,
                x_transaction_log_flush_interval=0.1,
                init_timeout=30,
                login_timeout=15,
                finish_timeout=60,
            ),
        )
        self._run.define_metric("*", step_metric="step")

    def seen(self) -> Mapping[str, int]:
        return self._seen

    def log(self, points: Sequence[Point]) -> None:
        first, self._rows = self._rows, self._rows + len(points)
        for step, values in points:
            self._seen |= dict.fromkeys(values, step)
        write_text(self._note, json.dumps({"rows": self._rows, "seen": self._seen}))
        for row, (step, values) in enumerate(points, first):
            self._run.log({**values, "step": step}, step=row, commit=True)

    def close(self, status: str | None) -> None:
        self._run.finish(exit_code={"interrupted": 255, "failed": 1}.get(status or "done", 0))


LIBRARIES: dict[str, Library] = {
    "tensorboard": Library(_TensorBoard, ("tensorboard",)),
    "mlflow": Library(_MLflow, ("mlflow", "sqlalchemy", "alembic")),
    "trackio": Library(_Trackio, ("trackio",)),
    "wandb": Library(_WandB, ("wandb",)),
}
"""By the name in `RunConfig.trackers`, which is the name of the extra as well."""
