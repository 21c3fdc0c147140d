"""An executor that takes tasks and never runs them: the runs of a scheduler that is measured do not end."""

from __future__ import annotations

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
