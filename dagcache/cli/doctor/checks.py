"""The conclusions of `dagcache doctor` from the facts that it collected. No input or output here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from dagcache.airflow.provider_info import OPTIONS
from dagcache.cli.doctor.endpoints import Port, Response
from dagcache.cli.shared.endpoint import Endpoint
from dagcache.sizing.limits import format_bytes, is_tiny
from dagcache.warm_start.differences import differing_parts

Status = Literal["ok", "warning", "failed", "unknown", "skipped"]
"""unknown: the check could not be made. skipped: there is nothing to check."""
Fact = Mapping[str, Any]

_PYTHONS = ((3, 10), (3, 14))
_AIRFLOWS = ((3, 1), (3, 4))
_BY_COMMAND_LINE = "workers: by [api] workers; the option --workers of a running API server is not visible here"
COMPONENTS = ("scheduler", "api_server")
"""The components that an installation of Airflow has, each with a hook of its own."""

_DEFAULTS = {option.name: option.default for option in OPTIONS}
_MEMORY_FACTS = ("max_bytes", "budget", "workers", "memory_limit", "memory_source", "memory_file")
_DERIVED_KEY = "a key derived from Airflow's own, which task workers often have: set warm_start_key"
_SHARE_OF_MEMORY = 0.9  # a full cache above this share is shrunk at once, for memory pressure


@dataclass(frozen=True, slots=True)
class Check:
    """One check and its result."""

    name: str
    status: Status
    message: str
    remedy: str = ""
    details: tuple[str, ...] = ()


def versions(python: tuple[int, ...], packages: Mapping[str, str | None], *, free_threaded: bool = False) -> Check:
    """The versions of Python and of the required packages; None: not installed."""
    shown = ", ".join(f"{name} {number or 'is not installed'}" for name, number in packages.items())
    message = f"Python {'.'.join(map(str, python))}, {shown}"
    if not _PYTHONS[0] <= python[:2] <= _PYTHONS[1]:
        return Check("versions", "warning", message, "use Python 3.10 - 3.14: other versions are not tested")
    if None in packages.values():
        return Check("versions", "failed", message, "install dagcache again with pip, with its dependencies")
    if free_threaded:
        remedy = "in Airflow, use the standard build of Python: on this one Airflow's own cache serves"
        return Check("versions", "warning", f"{message}; a free-threaded build is not supported in Airflow", remedy)
    return Check("versions", "ok", message)


def entry_point(targets: Sequence[str]) -> Check:
    """Whether Airflow can find the hook: the values of the entry points ``dagcache`` in the group airflow.policy."""
    name = "entry point"
    if "dagcache.airflow.bootstrap" in targets:
        return Check(name, "ok", "airflow.policy names dagcache.airflow.bootstrap")
    found = f"dagcache is {targets[0]}" if targets else "dagcache has none"
    remedy = "install dagcache with pip in this environment: a copy of its files on the path is not enough"
    return Check(name, "failed", f"airflow.policy does not lead to the hook: {found}", remedy)


def no_airflow() -> Check:
    """An environment without Airflow."""
    remedy = "in an Airflow image, run this with the Python of Airflow; elsewhere use --no-strict"
    message = "Airflow is not installed in this Python's environment: hook, settings and database were not checked"
    return Check("airflow", "unknown", message, remedy)


def of_airflow(facts: Iterable[Fact], ending: str) -> list[Check]:
    """The checks of Airflow by its facts; ``ending``: why the facts end early, or empty."""
    found: dict[str, list[Fact]] = {}
    for fact in facts:
        found.setdefault(str(fact.get("fact")), []).append(fact)
    components = found.get("component", []) + found.get("components", [])
    loaded = next((bool(fact.get("loaded")) for fact in found.get("bootstrap", [])), None)
    checks = [
        _airflow(_first(found, "airflow"), ending),
        _settings(_first(found, "settings"), ending),
        *(_hook(fact, loaded) for fact in components),
        *_without_effect(components),
        *_budgets(components),
        *(warm_start(fact) for fact in found.get("warm_start", ())),
        _database(_first(found, "database"), ending),
    ]
    if not found.get("components"):
        reported = {fact.get("component") for fact in components}
        silent = [name for name in COMPONENTS if name not in reported]
        checks[2:2] = [Check(f"hook, {name}", "unknown", _silence(ending)) for name in silent]
    return checks


def _first(found: Mapping[str, Sequence[Fact]], name: str) -> Fact | None:
    return next(iter(found.get(name, ())), None)


def _silence(ending: str) -> str:
    return f"Airflow could not be queried: {ending or 'it did not report this'}"


def _airflow(fact: Fact | None, ending: str) -> Check:
    if fact is None:
        return Check("airflow", "failed", _silence(ending), "python -c 'import airflow.settings' shows the reason")
    if "error" in fact:
        return Check(
            "airflow",
            "failed",
            f"Airflow cannot be imported: {fact['error']}",
            "repair Airflow first: airflow version shows the error",
        )
    version = str(fact["version"])
    message = f"Airflow {version}, home {fact['home']}"
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers < _AIRFLOWS[0]:
        return Check("airflow", "failed", message, "dagcache supports Airflow 3.1 - 3.4: upgrade Airflow")
    if numbers > _AIRFLOWS[1]:
        return Check("airflow", "warning", message, "only 3.1 - 3.4 are tested: look for a newer dagcache")
    return Check("airflow", "ok", message)


def _settings(fact: Fact | None, ending: str) -> Check:
    if fact is None or "error" in fact:
        message = _silence(ending) if fact is None else f"Airflow's settings cannot be read: {fact['error']}"
        return Check("settings", "unknown", message)
    rows, unknown = fact["settings"], fact["unknown"]
    details = tuple(f"{row['name']} = {row['error'] or row['value']} ({row['source']})" for row in rows)
    if any(row["error"] for row in rows):
        wrong = ", ".join(f"{row['name']}: {row['error']}" for row in rows if row["error"])
        return Check("settings", "failed", f"[dagcache] {wrong}", "correct airflow.cfg", details)
    if unknown:
        remedy = f"the settings are {', '.join(row['name'] for row in rows)}"
        return Check("settings", "warning", f"[dagcache] has no {', '.join(unknown)}", remedy, details)
    # By value, not by source: `airflow db migrate` and others write all defaults into a new airflow.cfg.
    changed = [row["name"] for row in rows if not _is_default(row)]
    which = f": {', '.join(changed)}" if changed else ""
    message = f"[dagcache] {len(changed)} of {len(rows)} settings are not at their defaults{which}"
    return Check("settings", "ok", message, "", details)


def _is_default(row: Mapping[str, Any]) -> bool:
    default = _DEFAULTS.get(row["name"])
    return default is not None and str(row["value"]).strip().lower() == default.lower()


def _hook(fact: Fact, loaded: bool | None) -> Check:
    """Whether the hook is in a component, and if not, why."""
    name = f"hook, {fact.get('component', 'all')}"
    if "error" in fact:
        module = fact.get("module", "airflow")
        remedy = f"repair Airflow first: python -c 'import {module}' shows the error"
        return Check(name, "failed", f"{module} cannot be imported: {fact['error']}", remedy)
    if loaded is False:
        remedy = "see the entry point above: Airflow loads the group airflow.policy when it starts"
        return Check(name, "failed", "Airflow has not loaded the entry point, and uses its own cache", remedy)
    if fact["hooked"]:
        where = f"{fact['module']}.{fact['name']}"
        return Check(name, "ok", f"{where} is {fact['class']}, in place of {fact['replaced']}")
    if "refused" in fact:
        return Check(
            name, "failed", f"off, Airflow uses its own cache: [dagcache] {fact['refused']}", "correct the setting"
        )
    if not fact["enabled"]:
        return Check(
            name, "warning", "off by [dagcache] mode = off: Airflow uses its own cache", "unset mode to turn it on"
        )
    reason = fact["unknown"] or f"{fact['class']} is in place of the bag"
    remedy = (
        "this version of dagcache does not support this Airflow, or a plugin that changes it: look for a newer dagcache"
    )
    return Check(name, "failed", f"off, Airflow uses its own cache: {reason}", remedy)


def _without_effect(components: Sequence[Fact]) -> list[Check]:
    """A warning if the bounds of Airflow's own bags are set; nothing if they are not."""
    found = [name for fact in components if fact.get("hooked") for name in fact.get("without_effect", ())]
    if not found:
        return []
    message = f"without effect: {', '.join(found)}; the cache bounds its DAGs by [dagcache] max_bytes and ttl"
    return [Check("bounds of Airflow's own bag", "warning", message, "remove them; dagcache advise recommends values")]


def _budgets(components: Sequence[Fact]) -> list[Check]:
    """The budgets by the settings, once for components with the same one."""
    by_facts: dict[tuple[Any, ...], list[str]] = {}
    for fact in components:
        if fact.get("enabled"):
            facts = tuple(fact[name] for name in _MEMORY_FACTS)
            by_facts.setdefault(facts, []).append(str(fact["component"]))
    return [memory(", ".join(names), *facts) for facts, names in by_facts.items()]


def memory(components: str, max_bytes: str, budget: int, workers: int, limit: int, source: str, file: str) -> Check:
    """Whether the budget fits the memory limit; ``file``: the file that states the limit, or empty."""
    name = f"memory, {components}"
    origin = {"machine": "the machine has", "memory_limit": "memory_limit is"}.get(source, f"{source} allows")
    of_memory = f"{origin} {format_bytes(limit)}{f' ({file})' if file else ''}"
    if not budget:
        remedy = "set max_bytes, unless this is on purpose: dagcache advise recommends a value"
        return Check(name, "warning", f"max_bytes = {max_bytes} is unbounded; {of_memory}", remedy)
    per = f" in each of {workers} workers" if workers > 1 else ""
    message = f"max_bytes = {max_bytes} is {budget} bytes ({format_bytes(budget)}){per}; {of_memory}"
    details = (_BY_COMMAND_LINE,) if "api_server" in components else ()
    if budget * workers > _SHARE_OF_MEMORY * limit:
        return Check(name, "warning", message, "lower max_bytes: the process itself needs memory as well", details)
    if is_tiny(budget):
        return Check(name, "warning", message, "raise max_bytes, which holds next to nothing; give a unit", details)
    return Check(name, "ok", message, "", details)


def warm_start(fact: Fact) -> Check:
    """Whether the warm store is on, where it is, what it has, and whether its key is a separate one."""
    name = "warm start"
    if "error" in fact:
        return _no_warm_start(fact)
    if not fact.get("kind"):
        return Check(name, "ok", "off: warm_start is empty")
    key = "a separate key" if fact["has_separate_key"] else _DERIVED_KEY
    if fact.get("missing"):
        return Check(name, "ok", f"{fact['kind']}: no process has stored a version in {_place(fact)} yet; {key}")
    generations = fact["generations"]
    details = tuple(
        f"{each['records']} records, {format_bytes(each['bytes'])}, {'in use' if each['is_in_use'] else 'not in use'}"
        for each in generations
    )
    newest = details[0] if details else "no records"
    differing = differing_parts(generations[0]["parts"], generations[1]["parts"]) if generations[1:] else []
    change = f"; the generation before it differs in {', '.join(differing)}" if differing else ""
    return Check(name, "ok", f"{fact['kind']} in {_place(fact)}: {newest}{change}; {key}", "", details[1:] and details)


def _place(fact: Fact) -> str:
    return str(fact.get("path") or fact.get("database") or "")


def _no_warm_start(fact: Fact) -> Check:
    where = f" in {_place(fact)}" if _place(fact) else ""
    remedy = "correct it, and restart: without it, a restarted process loads each version"
    return Check("warm start", "warning", f"off{where}: {fact['error']}", remedy)


def _database(fact: Fact | None, ending: str) -> Check:
    if fact is None:
        return Check("database", "unknown", _silence(ending))
    host = f" on {fact['host']}" if fact.get("host") else ""
    where = f"{fact.get('dialect', 'the metadata database')} {fact.get('database') or ''}".strip() + host
    if "error" in fact:
        remedy = "check [database] sql_alchemy_conn; airflow db check should show the same error"
        return Check("database", "failed", f"{where}: {fact['error']}", remedy)
    return Check("database", "ok", f"{where} answers, and has the table of serialised DAGs")


def ports(host: str, wanted: Sequence[int], checked: Sequence[Port]) -> Check:
    """Whether a process that starts now gets a port for its endpoint."""
    if not wanted:
        return Check("port", "ok", "metrics_port = 0: there are no endpoints")
    span = f"{wanted[0]}-{wanted[-1]}" if len(wanted) > 1 else str(wanted[0])
    free = [port for port in checked if not port.error]
    details = tuple(_taken(port) for port in checked if port.error)
    if free:
        message = f"{host}, {span}: the next process gets {free[0].number}"
        return Check("port", "ok", f"{message}; {len(details)} are taken" if details else message, "", details)
    message = f"{host}, {span}: none is free ({'; '.join(details[:3])})"
    remedy = "set metrics_port to a longer range (9095-9104), or stop the process that has the port"
    status: Status = "warning" if any(port.ours for port in checked) else "failed"
    return Check("port", status, message, remedy, details)


def _taken(port: Port) -> str:
    holder = "an endpoint of a cache" if port.ours else "taken" if "in use" in port.error.lower() else port.error
    return f"{port.number}: {holder}{f', {port.holder}' if port.holder else ''}"


def unknown_ports() -> Check:
    """The settings of the endpoint are unknown."""
    return Check("port", "unknown", "the settings metrics_host and metrics_port could not be read")


def endpoints(asked: Sequence[tuple[Endpoint, Response]], directory: str) -> Check:
    """Whether the known endpoints answer."""
    if not asked:
        where = f"none is announced in {directory}" if directory else "none is known"
        return Check("endpoints", "skipped", f"{where}: no process runs, or none on this machine (use --url)")
    details = tuple(f"{endpoint.shown}: {_summary(response)}" for endpoint, response in asked)
    silent = [endpoint.shown for endpoint, response in asked if not response.components]
    if silent:
        remedy = "a killed process leaves its file in the targets directory until the next process starts"
        message = f"{len(silent)} of {len(asked)} do not answer with metrics of a cache: {', '.join(silent[:3])}"
        return Check("endpoints", "warning", message, remedy, details)
    return Check("endpoints", "ok", f"{len(asked)} answer", "", details)


def frozen_copies(asked: Sequence[tuple[Endpoint, Response]]) -> Check:
    """Whether the values in the processes that answer can be frozen and thawed."""
    name = "frozen copies"
    responses = [response for _, response in asked if response.components]
    if not responses:
        return Check(name, "unknown" if asked else "skipped", "no process answers")
    unfrozen, failed = (
        sum(getattr(response, field) for response in responses) for field in ("unfrozen", "thaw_failures")
    )
    if not unfrozen and not failed:
        return Check(name, "ok", "all loaded values have one")
    details = tuple(f"{endpoint.shown}: {_kept_live(response)}" for endpoint, response in asked if response.components)
    message = f"{unfrozen} loads had no frozen form, and {failed} thaws failed: such versions are kept live only"
    return Check(name, "warning", message, "the log of dagcache names the classes that cause this", details)


def _kept_live(response: Response) -> str:
    return f"{response.unfrozen} without a frozen form, {response.thaw_failures} thaws failed"


def _summary(response: Response) -> str:
    return response.error or ", ".join(response.components) or "no metrics of dagcache"
