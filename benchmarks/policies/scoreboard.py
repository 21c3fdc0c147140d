"""Tables of the results of a comparison."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict

from benchmarks.policies.choice import Timing
from benchmarks.policies.simulate import OURS, CaseResult, by_family, geometric_mean

Row = dict[str, float]


def summary(results: Sequence[CaseResult]) -> dict[str, Row]:
    """Per policy: the geometric mean of cost / offline cost per family and over all, and the worst case."""
    families = by_family(results)
    rows: dict[str, Row] = {}
    for policy in results[0].costs:
        row = {name: _mean_ratio(policy, members) for name, members in families.items()}
        row["all"] = _mean_ratio(policy, results)
        row["worst"] = max(result.ratio(policy) for result in results)
        rows[policy] = row
    return rows


def policy_table(rows: Mapping[str, Row]) -> str:
    """The summary as a Markdown table, the best policy over all first, each column's best in bold."""
    columns = list(next(iter(rows.values())))
    best = {column: min(row[column] for row in rows.values()) for column in columns}
    ranked = sorted(rows, key=lambda policy: rows[policy]["all"])
    cells = [[policy, *(_cell(rows[policy][name], best[name]) for name in columns)] for policy in ranked]
    return _markdown(["policy", *columns], cells)


def case_table(results: Iterable[CaseResult]) -> str:
    """Case by case as a Markdown table: ours, two well-known ones, and the cheapest rival."""
    cells = []
    for result in results:
        rivals = [policy for policy in result.costs if policy != OURS]
        cheapest = min(rivals, key=result.ratio)
        best = min(result.ratio(OURS), result.ratio(cheapest))
        shown = [_cell(result.ratio(policy), best) for policy in (OURS, "LRU", "W-TinyLFU", cheapest)]
        shown[-1] += f" {cheapest}"
        cells.append([result.trace, f"{result.share:g}", *shown, f"{result.offline:.2f}"])
    return _markdown(["trace", "budget", OURS, "LRU", "W-TinyLFU", "best rival", "offline s"], cells)


def choice_table(timings: Iterable[Timing]) -> str:
    """Microseconds per miss as a Markdown table."""
    cells = [[f"{t.residents:,}", f"{t.mean:.0f}", f"{t.p99:.0f}", f"{t.full_scan_mean:,.0f}"] for t in timings]
    return _markdown(["residents", "mean us", "p99 us", "full scan us"], cells)


def as_json(results: Sequence[CaseResult], timings: Iterable[Timing]) -> dict[str, object]:
    """Every figure, for machines."""
    sets = dict.fromkeys(result.cases for result in results)
    return {
        "summary": {kind: summary([o for o in results if o.cases == kind]) for kind in sets},
        "cases": [asdict(result) for result in results],
        "choice": [asdict(timing) for timing in timings],
    }


def _mean_ratio(policy: str, results: Iterable[CaseResult]) -> float:
    return geometric_mean(result.ratio(policy) for result in results)


def _cell(value: float, best: float) -> str:
    text = f"{value:.2f}"
    return f"**{text}**" if text == f"{best:.2f}" else text


def _markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
