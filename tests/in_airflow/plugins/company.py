"""A plugin as a company has one: timetables that know the company's calendar, a link, a weight strategy."""

from __future__ import annotations

import importlib
import threading
from contextlib import suppress
from datetime import datetime, timezone
from typing import Any, ClassVar

from airflow.plugins_manager import AirflowPlugin
from airflow.sdk import BaseOperator, BaseOperatorLink
from airflow.task.priority_strategy import PriorityWeightStrategy
from airflow.timetables.base import DagRunInfo, DataInterval, Timetable


class Calendar:
    """The days on which nothing runs."""

    def __init__(self) -> None:
        self.days: set[str] = set()


CALENDAR = Calendar()


class _Never(Timetable):
    """The common part of all of them: Airflow needs no more of them here."""

    def infer_manual_data_interval(self, *, run_after: Any) -> DataInterval:
        """No interval."""
        return DataInterval.exact(run_after)

    def next_dagrun_info(self, *, last_automated_data_interval: Any, restriction: Any) -> DagRunInfo | None:
        """No run."""
        return None

    def serialize(self) -> dict[str, Any]:
        """Nothing."""
        return {}


class CalendarTimetable(_Never):
    """Refers to an object of the whole process."""

    def __init__(self, calendar: Calendar = CALENDAR) -> None:
        self.calendar = calendar

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> Timetable:
        """With the one calendar."""
        return cls(CALENDAR)


class OneTimetable(_Never):
    """One for all DAGs."""

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> Timetable:
        """Always the same."""
        return THE_ONE


THE_ONE = OneTimetable()


class WrappingTimetable(_Never):
    """Has the attributes of the wrapped object; pickle reads attributes before it wraps one."""

    def __init__(self, inner: Any = CALENDAR) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> Timetable:
        """Around the calendar."""
        return cls(CALENDAR)


class ForgetfulTimetable(_Never):
    """Says less of itself once it has been decoded."""

    def __init__(self, days: list[str], said: bool = True) -> None:
        self.days = days
        self.said = said

    def serialize(self) -> dict[str, Any]:
        """The days, but not again."""
        return {"days": self.days if self.said else []}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> Timetable:
        """As the row has it."""
        return cls(data["days"], said=False)


class FickleTimetable(_Never):
    """Cannot be decoded while something is the matter."""

    matter: ClassVar[bool] = False

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> Timetable:
        """A new one, at best."""
        if cls.matter:
            raise RuntimeError("a service does not answer")
        return cls()


class CountingTimetable(_Never):
    """Changes with each question."""

    def __init__(self, days: list[str]) -> None:
        self.days = days
        self.asked: list[Any] = []

    def serialize(self) -> dict[str, Any]:
        """The days."""
        return {"days": self.days}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> Timetable:
        """One that was not asked yet."""
        return cls(data["days"])

    def next_dagrun_info(self, *, last_automated_data_interval: Any, restriction: Any) -> DagRunInfo | None:
        """No run, but a note."""
        self.asked.append(restriction)
        return None


class LockingTimetable(_Never):
    """Has a lock, which cannot be copied."""

    def __init__(self) -> None:
        self.lock = threading.Lock()

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> Timetable:
        """With a lock of its own."""
        return cls()


class WeighingStrategy(PriorityWeightStrategy):
    """As heavy as the calendar."""

    def __init__(self) -> None:
        self.calendar = CALENDAR

    def get_weight(self, ti: Any) -> int:
        """The count of its days."""
        return len(self.calendar.days)


class CompanyOperator(BaseOperator):
    """Runs on the company's machines."""


class CompanyLink(BaseOperatorLink):
    """To the company's page on a task."""

    name = "company"
    operators: ClassVar[list[type]] = [CompanyOperator]

    def __init__(self) -> None:
        self.calendar = CALENDAR

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """One page for all."""
        return "http://company"


LINK = CompanyLink()


class OwnLink(BaseOperatorLink):
    """A link that an operator brings, and that is not in the registry."""

    name = "own"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """One page for all."""
        return "http://company/own"


class LinkedOperator(BaseOperator):
    """An operator with a link of its own."""

    operator_extra_links = (OwnLink(),)


references: list[type] = []
mappers: list[type] = []
windows: list[type] = []
with suppress(ImportError, AttributeError):  # since Airflow 3.3
    _mapper: Any = importlib.import_module("airflow.partition_mappers.base").PartitionMapper
    _window: Any = importlib.import_module("airflow.partition_mappers.window").Window

    class CompanyMapper(_mapper):
        """Maps keys by the calendar."""

        def __init__(self, **arguments: Any) -> None:
            super().__init__(**arguments)
            self.calendar = CALENDAR

        def to_downstream(self, key: str) -> str:
            """The same key."""
            return key

    class CompanyWindow(_window):
        """A window that the calendar knows."""

        expected_decoded_type = str

        def __init__(self, **arguments: Any) -> None:
            super().__init__(**arguments)
            self.calendar = CALENDAR

        def to_upstream(self, decoded: Any) -> list[Any]:
            """That key."""
            return [decoded]

    mappers, windows = [CompanyMapper], [CompanyWindow]


with suppress(ImportError, AttributeError):  # since Airflow 3.1
    _reference: Any = importlib.import_module("airflow.sdk.definitions.deadline").BaseDeadlineReference

    class CompanyReference(_reference):
        """The end of the company's day."""

        def _evaluate_with(self, *, session: Any, **kwargs: Any) -> Any:
            return datetime(2030, 1, 1, tzinfo=timezone.utc)

        def serialize_reference(self) -> dict[str, Any]:
            """Its name."""
            return {"reference_type": "CompanyReference"}

        @classmethod
        def deserialize_reference(cls, reference_data: dict[str, Any]) -> Any:
            """A new one."""
            return cls()

    references = [CompanyReference]


async def note_later(**_: Any) -> None:
    """A callback of a deadline."""


class CompanyPlugin(AirflowPlugin):
    """Registers them."""

    name = "company"
    timetables: ClassVar[list[Any]] = [
        CalendarTimetable,
        OneTimetable,
        WrappingTimetable,
        ForgetfulTimetable,
        FickleTimetable,
        CountingTimetable,
        LockingTimetable,
    ]
    operator_extra_links: ClassVar[list[Any]] = [LINK]
    priority_weight_strategies: ClassVar[list[Any]] = [WeighingStrategy]
    partition_mappers: ClassVar[list[Any]] = mappers
    windows: ClassVar[list[Any]] = windows
    deadline_references: ClassVar[list[Any]] = references
