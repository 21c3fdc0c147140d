"""Executors that take tasks and never run them: the runs of a scheduler that is measured do not end."""

from __future__ import annotations

import gc
from typing import Any

from airflow.executors.base_executor import BaseExecutor


class IdleExecutor(BaseExecutor):  # type: ignore[misc, unused-ignore]
    """An executor that leaves its queue alone."""

    def queue_workload(self, workload: Any, session: Any) -> None:
        """Take a task over."""

    def sync(self) -> None:
        """Nothing is running."""

    def end(self) -> None:
        """Nothing is running."""

    def terminate(self) -> None:
        """Nothing is running."""


class CollectingExecutor(IdleExecutor):
    """An idle executor that has all garbage collected in each loop of the scheduler."""

    def sync(self) -> None:
        """Collect."""
        gc.collect()
