"""All lines of the scorecard, in order."""

from __future__ import annotations

import importlib.util
import json
import statistics
import sys
from collections.abc import Callable
from typing import Any

from tools.scorecard import interpreters
from tools.scorecard.coverage_of_core import branch_coverage
from tools.scorecard.measures import overload
from tools.scorecard.outcome import Check, Outcome, not_run
from tools.scorecard.processes import MeasureError, last_line, measure, run, run_tests
from tools.scorecard.reruns import count_failures

MIB = 2**20
_PEAK = 1.3  # budgets
_IN_AIRFLOW = "tests/in_airflow"
Measure = Callable[[bool], Outcome]


def _tested(*which: str, in_airflow: bool = False) -> Measure:
    """A line that tests measure; their long ones in the long form."""

    def measured(short: bool) -> Outcome:
        if in_airflow and importlib.util.find_spec("airflow") is None:
            return not_run("Airflow is not installed")
        return run_tests(*which, soak=not short).outcome

    return measured


def _judged(name: str, judge: Callable[[dict[str, Any]], Outcome], short: tuple[object, ...], *long: object) -> Measure:
    """A line with its own measurement."""
    return lambda is_short: judge(measure(name, *(short if is_short else long)))


def _mutants(short: bool) -> Outcome:
    if short:
        return not_run("in the long form only, or by `make mutants`")
    code, output, _ = run([sys.executable, "-m", "tools.mutants"])
    return Outcome(last_line(output), passed=code == 0)


def _churn(told: dict[str, Any]) -> Outcome:
    faults = (told["stale"], told["over"], told["miscounted"])
    figure = f"{told['lookups']:,} lookups: {faults[0]} stale, {faults[1]} over the budget, {faults[2]} miscounted"
    return Outcome(figure, passed=not any(faults))


def _flights(told: dict[str, Any]) -> Outcome:
    return Outcome(f"1 load and 100 loads, {told['rounds']} times", passed=True)


def _strikes(told: dict[str, Any]) -> Outcome:
    struck = told["raised"] + told["thrown"]
    left = told["internal_errors"] + told["flights"] + told["locked"] + told["leaks"]
    figure = (
        f"{struck:,} interrupts, {told['handled']:,} handlers; totals recomputed {told['repairs']} times;"
        f" {left} locks, flights or errors left"
    )
    return Outcome(figure, passed=not left)


def _holding(short: bool) -> Outcome:
    told = [measure("holding", (500, 1000)[number] if short else 5_000_000, way) for number, way in enumerate(_WALKS)]
    held, damaged, left = (sum(each[name] for each in told) for name in ("released_while_held", "damaged", "left"))
    figure = (
        f"{held:,} times a DAG was to be taken apart while a thread held a part: {damaged} damaged, {left} left over"
    )
    return Outcome(figure, passed=not damaged and not left)


def _forks(told: dict[str, Any]) -> Outcome:
    bound = "bound again at once" if told["rebound"] else "not free again"
    figure = f"{told['forks']} forks: {told['hung']} hung, {told['failed']} failed; the port was {bound}"
    return Outcome(figure, passed=told["rebound"] and not (told["hung"] or told["failed"] or told["failures"]))


def _overload(where_from: str, kinds: tuple[str, ...], budget: int, short_budget: int) -> Measure:
    """All kinds of ours have to survive within the peak, all controls have to fail."""

    def measured(short: bool) -> Outcome:
        if where_from == "airflow" and importlib.util.find_spec("airflow") is None:
            return not_run("Airflow is not installed")
        size = short_budget if short else budget
        told = {kind: overload.in_a_process(kind, where_from, size) for kind in kinds}
        passed = all(_stayed_small(each, size) == kind.startswith("ours") for kind, each in told.items())
        figures = (
            f"{kind}: {'survived' if each['survived'] else 'out of memory'}, {each['peak'] / MIB / size:.2f} budgets"
            for kind, each in told.items()
        )
        return Outcome("; ".join(figures), passed)

    return measured


def _stayed_small(told: dict[str, Any], mebibytes: int) -> bool:
    return bool(told["survived"]) and told["peak"] <= _PEAK * mebibytes * MIB


def _accounted(short: bool) -> Outcome:
    """In busy real schedulers; the short form has one process for each budget, and mostly large DAGs."""
    if importlib.util.find_spec("airflow") is None:
        return not_run("Airflow is not installed")
    code, output, errors = run([sys.executable, "-m", "benchmarks.accounting", "--json", *(["--quick"] * short)])
    if code:
        raise MeasureError(f"benchmarks.accounting ended with {code}: {last_line(errors)}")
    told = json.loads(last_line(output))
    ratios = {label: statistics.median(each) for label, each in told["ratios"].items()}
    figure = ", ".join(f"{label}: {ratio:.3f}" for label, ratio in (ratios | {"slope": 1 / told["slope"]}).items())
    return Outcome(figure, passed=all(0.97 <= ratio <= 1.03 for ratio in ratios.values()))


def _give_back(short: bool) -> Outcome:
    told = measure("footprint", 75, 16 if short else 64)
    shrunk, left = (1 - told[name] / told["grown"] for name in ("shrunk", "left"))
    freed = 1 - told["kept"] / told["accounted"]
    figure = f"{shrunk:.0%} of the growth back after giving up {freed:.0%} of the bytes, {left:.0%} after clear()"
    return Outcome(figure, passed=left >= 0.5)


def _evictions(told: dict[str, Any]) -> Outcome:
    early, late = told["early"], told["late"]
    slope = (late["resident"] - early["resident"]) / (late["evictions"] - early["evictions"])
    grown = [name for name in early if name not in ("resident", "evictions") and late[name] > 3 * early[name] + 64]
    lengths = ", ".join(f"{late[name]} {name}" for name in ("entries", "ghosts", "deadlines", "flights"))
    figure = f"{late['evictions']:,} evictions: {slope:+.2f} bytes of RSS each; at the end {lengths}"
    return Outcome(figure, passed=slope <= 2 and not grown)


def _pauses(mode: str) -> Measure:
    """Beside the same lookups without a cache, in the same minutes."""

    def measured(short: bool) -> Outcome:
        told = measure("pauses", mode, 3 if short else 20, "airflow")
        control = measure("pauses", "without", 1 if short else 2, "airflow", 100)
        ours, theirs = (1000 * each["share"] * each["seconds"] / each["lookups"] for each in (told, control))
        figure = (
            f"{told['lookups']:,} lookups ({told['thaws']:,} thaws): p99 {told['p99_ms']:.1f} ms, without the cache"
            f" {control['p99_ms']:.1f}; {told['collections']} collections ({told['full']} full): p99"
            f" {told['collection_p99_ms']:.1f} ms, worst {told['worst_ms']:.0f} ms, {told['share']:.1%} of the time;"
            f" {ours:.2f} ms a lookup, without the cache {theirs:.2f};"
            f" disposals: p99 {told['burial_p99_ms']:.1f} ms, {told['burial_share']:.0%}"
        )
        return Outcome(figure, passed=told["p99_ms"] < 10 and 4 * ours < theirs)

    return measured


def _settings(told: dict[str, Any]) -> Outcome:
    figure = f"{told['values']:,} values, {told['errors']:,} ConfigErrors, {len(told['wrong'])} of anything else"
    return Outcome(f"{figure} {'; '.join(told['wrong'][:2])}", passed=not told["wrong"])


def _bits(told: dict[str, Any]) -> Outcome:
    figure = f"{told['flips']:,} of {told['bits']:,} bits flipped: {told['wrong']} not detected"
    return Outcome(figure, passed=not told["wrong"])


def _crowd(told: dict[str, Any]) -> Outcome:
    figure = (
        f"{told['crowd']} slow clients, {told['requests']} kinds of strange request: {told['scrapes']} scrapes,"
        f" {told['failed']} failed, median {told['median_ms']:.0f} ms, p99 {told['p99_ms']:.0f} ms;"
        f" {told['threads']} threads"
    )
    return Outcome(figure, passed=not told["failed"] and told["p99_ms"] < 100 and told["threads"] <= 8)


def _series(told: dict[str, Any]) -> Outcome:
    secrets = told["secrets_in_metrics"] + told["secrets_in_log"] + told["secrets_in_repr"]
    figure = f"{told['keys']:,} DAGs: {told['series']} series, promtool: {told['promtool']}, {secrets} secrets shown"
    clean = told["promtool"] in ("clean", "not installed")
    return Outcome(figure, passed=clean and told["series"] <= 110 and not told["ids"] and not secrets)


def _reruns(short: bool) -> Outcome:
    runs = 1 if short else 3
    failures = count_failures(runs)
    return Outcome(f"{failures} of {runs} runs of the core's tests failed", passed=not failures)


_WALKS = ("evictions", "censuses")
_OURS = ("ours", "ours-without-gc", "unbroken", "by-count")

BOARD = (
    Check(
        "R1",
        "CPython's own tests of mappings (33 and those of frozen copies), on each version of Python",
        "all pass",
        lambda _: interpreters.mapping_tests(interpreters.SUPPORTED),
    ),
    Check(
        "R1",
        "mapping and cache behaviour",
        "all pass",
        _tested(
            "tests/unit/core/test_cache_changes.py",
            "tests/unit/core/test_cache_lookups.py",
            "tests/unit/core/test_cache_bounds.py",
        ),
    ),
    Check(
        "R2",
        "a hundred DAGs in a real scheduler end as with Airflow's own bag; Airflow's examples come out equal",
        "no difference",
        _tested(
            f"{_IN_AIRFLOW}/test_scheduler.py",
            f"{_IN_AIRFLOW}/test_example_dags.py",
            f"{_IN_AIRFLOW}/test_zoo.py",
            f"{_IN_AIRFLOW}/test_airflow_statistics.py",
            in_airflow=True,
        ),
    ),
    Check(
        "R3",
        "a state machine against its model: 10,000 sequences of fifty steps",
        "0 failures",
        _tested("tests/stress/test_machine.py"),
    ),
    Check("R3", "seeded faults of the core", "all noticed", _mutants),
    Check(
        "R4",
        "eight threads that look up, assign and delete while a ninth resizes, three minutes",
        "0 stale, 0 over, 0 miscounted",
        _judged("threads", _churn, ("churn", 3), "churn", 180),
    ),
    Check(
        "R5",
        "a thousand threads on one key; fifty threads on a hundred keys",
        "1 load; 100 loads",
        _judged("threads", _flights, ("flights", 1), "flights", 20),
    ),
    Check(
        "R6",
        "the n-th call of each function of a cache's user fails, for every n; an interrupt before every line",
        "nothing lost",
        _tested("tests/unit/core/test_interrupts.py"),
    ),
    Check(
        "R7",
        "interrupts from signals (2 kHz) and other threads; handlers that use the cache (2 kHz)",
        "0 deadlocks, totals exact",
        _judged("strikes", _strikes, (500,), 10_000),
    ),
    Check(
        "R7",
        "four threads that walk from part to part of DAGs that leave in every way, ten million times",
        "0 damaged, 0 left over",
        _holding,
    ),
    Check(
        "R8",
        "forks of a process with threads that keep the cache and its endpoint busy",
        "0 hung, port free at once",
        _judged("forks", _forks, (20,), 500),
    ),
    Check(
        "R9",
        "ten times the budget, under RLIMIT_DATA of base + 2 budgets, artificial DAGs; two controls have to fail",
        "ours survive, peak <= 1.3 budgets",
        _overload("made-up", _OURS, 32, 8),
    ),
    Check(
        "R9",
        "the same with Airflow's DAGs",
        "ours survive, peak <= 1.3 budgets",
        _overload("airflow", _OURS, 32, 12),
    ),
    Check("R10", "accounted / real bytes in busy real schedulers", "0.97 - 1.03", _accounted),
    Check("R10", "memory returned to the system: a shrink to a tenth, then clear()", ">= 50 % at clear()", _give_back),
    Check(
        "R10",
        "evictions of values of all sizes",
        "<= 2 bytes of RSS each, no list grows",
        _judged("evictions", _evictions, (20_000,), 1_000_000),
    ),
    *(
        Check(
            "R11",
            what,
            "p99 of lookups stopped < 10 ms; collections < a quarter of those without the cache",
            _pauses(mode),
        )
        for what, mode in (
            ("pauses in a sweep in which most lookups thaw and one in twenty loads, Airflow's DAGs", "plain"),
            ("the same with gc_freeze", "gc-freeze"),
            ("the same with gc_freeze, and LocalExecutor's forks every 50 lookups", "gc-freeze-forks"),
        )
    ),
    Check(
        "R12",
        "PostgreSQL is killed and restarted amid lookups, twenty times",
        "0 wrong DAGs, Airflow's errors",
        _tested(
            f"{_IN_AIRFLOW}/test_bad_input.py::test_what_is_cached_keeps_serving_while_the_database_is_away",
            in_airflow=True,
        ),
    ),
    Check(
        "R13",
        "eight kinds of corrupt row, on SQLite, PostgreSQL and MySQL",
        "Airflow's error, no other entry harmed",
        _tested(
            f"{_IN_AIRFLOW}/test_bad_input.py::test_a_corrupt_row_raises_what_stock_raises_and_harms_no_other",
            in_airflow=True,
        ),
    ),
    Check(
        "R14",
        "a thousand rewrites in place, a thousand revalidations, on SQLite, PostgreSQL and MySQL",
        "stale <= the window; 1 load, 1 weighing",
        _tested(f"{_IN_AIRFLOW}/test_many_updates.py", f"{_IN_AIRFLOW}/test_in_place_updates.py", in_airflow=True),
    ),
    Check(
        "R15",
        "random settings (seeded), for every setting in turn",
        "a value or a ConfigError",
        _judged("settings", _settings, (5000,), 100_000),
    ),
    Check(
        "R15",
        "single flipped bits of a frozen copy",
        "each a miss, never a wrong value",
        _judged("bits", _bits, (300,), 10_000),
    ),
    Check(
        "R16",
        "scrapes beside many slow and malformed clients",
        "p99 < 100 ms, <= 8 threads",
        _judged("crowd", _crowd, (100,), 1000),
    ),
    Check(
        "R17",
        "series of 10,000 DAGs, with secrets in values and errors",
        "<= 110 series, clean, 0 secrets",
        _judged("series", _series, (2000,), 10_000),
    ),
    Check("R18", "free-threaded builds", "as with the lock", lambda _: interpreters.free_threaded()),
    Check("R19", "branch coverage of the core", "100 %", lambda _: branch_coverage()),
    Check("R19", "the core's tests, repeated (`--reruns 100` for more)", "0 failures", _reruns),
)
