"""Who else gets the figures of a training, beside metrics.jsonl: TensorBoard and MLflow (`train.tracking`). Both write files into the run
folder; neither needs a server, and nothing leaves the machine.

MLflow writes its store of files, `mlruns`, because a run folder may lie on a share of the network, where SQLite's locks do not hold. It
gets the figures, the keys of `train` and the folder's name; no user, host, program or commit, which its fluent API would add.
"""

from __future__ import annotations

import errno
import importlib.util
import json
import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from nosology.config import flatten
from nosology.errors import ConfigError
from nosology.runs import describe

if TYPE_CHECKING:
    from nosology.config import TrainConfig

EXPERIMENT = "nosology"
PLACES = frozenset({"checkpoint_folder", "offload_folder"})  # keys of `train` whose value is a place, which nobody else is told
# of the figures of a step those that are followed, and what they are called there
_FOLLOWED = {
    "value": "loss", "learning_rate": "learning_rate", "gradient_norm": "gradient_norm", "tokens_per_second": "tokens_per_second",
    "memory_gib": "memory_gib", "mfu": "mfu",
}  # fmt: skip


class Tracker(Protocol):
    """One of them; made at the first step, with its number."""

    def write(self, step: int, figures: Mapping[str, float]) -> None: ...

    def close(self, stopped: bool) -> None: ...


class TensorBoard:
    """Event files in `tensorboard`."""

    def __init__(self, folder: Path, config: TrainConfig, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        # steps that are taken again after a loss take the place of those before
        self._writer: Any = SummaryWriter(str(folder / "tensorboard"), flush_secs=10, purge_step=step)

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        for name, value in figures.items():
            self._writer.add_scalar(name, value, step)

    def close(self, stopped: bool) -> None:
        self._writer.close()


class MLflow:
    """One MLflow run for the run folder, however often it is interrupted. A step that was taken twice has two values there; the later one,
    which the model has learnt from, is MLflow's latest."""

    def __init__(self, folder: Path, config: TrainConfig, step: int) -> None:
        import mlflow

        place = (folder / "mlruns").absolute().as_uri()
        self._client: Any = mlflow.MlflowClient(tracking_uri=place, registry_uri=place)
        held = self._client.get_experiment_by_name(EXPERIMENT)
        experiment = held.experiment_id if held else self._client.create_experiment(EXPERIMENT)
        runs = self._client.search_runs([experiment], order_by=["attributes.start_time"], max_results=1)
        run = runs[0] if runs else self._client.create_run(experiment, run_name=folder.name)
        self._run: str = run.info.run_id
        self._client.update_run(self._run, status="RUNNING")
        # a resumed training may be run in another way (`train.max_failures`), and MLflow lets no parameter change
        for name, value in flatten(config.model_copy(update=dict.fromkeys(PLACES))):
            if name not in run.data.params:
                self._client.log_param(self._run, name, value if isinstance(value, str) else json.dumps(value))

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        named = {re.sub(r"[^A-Za-z0-9_\-. /]", "_", name): value for name, value in figures.items()}  # other characters are refused
        self._client.log_batch(self._run, metrics=[Metric(name, value, now, step) for name, value in named.items()])

    def close(self, stopped: bool) -> None:
        self._client.set_terminated(self._run, "KILLED" if stopped else "FINISHED")


TRACKERS: dict[str, Callable[[Path, TrainConfig, int], Tracker]] = {"tensorboard": TensorBoard, "mlflow": MLflow}


class Trackers:
    """A callback for the loop. Trackers are made at the first call, so by the first worker only. One that fails is left out from there on,
    for a training of days must not end because of its plot; a full disk ends it as everywhere."""

    def __init__(self, names: Sequence[str], folder: Path, config: TrainConfig) -> None:
        self._names, self._folder, self._config = names, folder, config
        self._made: dict[str, Tracker] | None = None

    def __call__(self, measures: Mapping[str, float]) -> None:
        """The figures of a step, as the loop measures them."""
        step = int(measures["step"])
        if self._made is None:
            self._made = {}
            for name in self._names:
                made = self._guarded(name, TRACKERS[name], self._folder, self._config, step)
                self._made |= {name: made} if made else {}
        self._write(step, {told: float(measures[name]) for name, told in _FOLLOWED.items() if name in measures})

    def validation(self, step: int, metrics: Mapping[str, float]) -> None:
        """The metrics of the validation rows after a step."""
        self._write(step, {f"validation/{name}": float(value) for name, value in metrics.items()})

    def close(self, stopped: bool = False) -> None:
        """No more comes.

        Args:
            stopped: whether the training was asked to end before its last step.
        """
        for name, tracker in list((self._made or {}).items()):
            self._guarded(name, tracker.close, stopped)

    def _write(self, step: int, figures: Mapping[str, float]) -> None:
        for name, tracker in list((self._made or {}).items()):
            self._guarded(name, tracker.write, step, figures)

    def _guarded(self, name: str, work: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return work(*arguments)
        except Exception as error:
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            (self._made or {}).pop(name, None)
            text = "train.tracking: %s is left out from here on (%s); metrics.jsonl has all figures"
            logging.getLogger("nosology").warning(text, name, describe(error))
            return None


def trackers(names: Sequence[str], folder: Path, config: TrainConfig) -> Trackers | None:
    """What the loop is given as `on_step`: a callback that takes each step's figures to those that are named; None for none."""
    return Trackers(names, folder, config) if names else None


def check(names: Sequence[str]) -> None:
    """ConfigError, with the remedy, for a tracker whose package is not installed."""
    if "mlflow" in names and importlib.util.find_spec("mlflow") is None:
        raise ConfigError("train.tracking: mlflow needs the package mlflow-skinny. Run: pip install 'nosology[mlflow]', or take mlflow out")
