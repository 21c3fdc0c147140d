"""A timetable with its own state: an answer depends on the number of earlier calls of this object."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from airflow.plugins_manager import AirflowPlugin
from airflow.timetables.base import DagRunInfo, DataInterval, Timetable

FIRST = datetime(2026, 1, 1, tzinfo=timezone.utc)
MOST = 40
"""Days that one object gives, all in all."""


class CountingTimetable(Timetable):  # type: ignore[misc, unused-ignore]
    """One day later at each call."""

    description = "counts"

    def __init__(self) -> None:
        self.given = 0

    @property
    def summary(self) -> str:
        """The text in the user interface."""
        return f"given: {self.given}"

    def serialize(self) -> dict[str, Any]:
        """Nothing but its class."""
        return {}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> CountingTimetable:
        """A fresh one."""
        return cls()

    def infer_manual_data_interval(self, *, run_after: Any) -> Any:
        """The moment itself."""
        return DataInterval.exact(run_after)

    def next_dagrun_info(self, *, last_automated_data_interval: Any, restriction: Any) -> Any:
        """The next day, as this object counts."""
        self.given += 1
        if self.given > MOST:
            return None
        import pendulum

        return DagRunInfo.exact(pendulum.instance(FIRST + timedelta(days=self.given)))


class CountingTimetablePlugin(AirflowPlugin):  # type: ignore[misc, unused-ignore]
    """Makes it known to Airflow."""

    name = "counting_timetable"
    timetables = [CountingTimetable]  # noqa: RUF012 - Airflow's way
