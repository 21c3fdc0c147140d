"""Ways of holding a part of a DAG, and from each the way back to the DAG.

They work on the synthetic graphs of `mapped_dag` and on Airflow's own. ``HOLDERS[name](dag)`` gives what holds a part
and a function that gets the DAG from it, as a user of the part would: by attributes, items and calls.
"""

from __future__ import annotations

import asyncio
import contextvars
import copy
import functools
import itertools
import operator
import sys
import threading
import types
import weakref
from collections import ChainMap
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from typing import Any

from tests.support.graphs import Dag, Task, make_dag
from tests.support.patience import PATIENCE

Reach = Callable[[Any], Any]
Holder = Callable[[Any], tuple[Any, Reach]]


class XComArg:
    """The result of a task, as the argument of another."""

    def __init__(self, task: Task) -> None:
        self.operator = task
        self.key = "return_value"


class ExpandInput:
    """Over what a mapped task expands."""

    def __init__(self, value: dict[str, Any]) -> None:
        self.value = value


def mapped_dag(tasks: int, seed: int = 1, *, groups: int = 2) -> Dag:
    """A synthetic DAG: each task is expanded over the result of the one before."""
    dag: Any = make_dag(tasks, seed, groups=groups)
    one: Any = None
    for task in dag.task_dict.values():
        task.expand_input = ExpandInput({} if one is None else {"x": XComArg(one)})
        one = task
    return dag  # type: ignore[no-any-return]


def _task(dag: Any) -> Any:
    return next(iter(dag.task_dict.values()))


def _group(dag: Any) -> Any:
    return next(item for item in dag.task_group.children.values() if hasattr(item, "children"))


def _expand_input(dag: Any) -> Any:
    return next(found for found in _expand_inputs(dag) if _args(found))


def _expand_inputs(dag: Any) -> Iterator[Any]:
    for task in dag.task_dict.values():
        for name in ("expand_input", "op_kwargs_expand_input"):  # Airflow's task decorator makes the latter
            if (found := getattr(task, name, None)) is not None:
                yield found


def _args(expand_input: Any) -> list[Any]:
    return [item for item in expand_input.value.values() if hasattr(item, "operator")]


def _xcom_arg(dag: Any) -> Any:
    return _args(_expand_input(dag))[0]


def _dag_of(part: Any) -> Any:
    """From a task, a group or a proxy of one."""
    return part.dag


def _of_task(hold: Callable[[Any], Any], task_of: Reach) -> Holder:
    return lambda dag: (hold(_task(dag)), lambda held: task_of(held).dag)


def _of_dag(hold: Callable[[Any], Any], dag_of: Reach) -> Holder:
    return lambda dag: (hold(dag), dag_of)


def _walk(task: Any) -> Iterator[Any]:
    yield None
    yield task


def _suspended(task: Any) -> Any:
    walk = _walk(task)
    next(walk)
    return walk


def _suspended_amid_an_expression(task: Any) -> Any:
    def pairs() -> Iterator[Any]:
        found = [task, (yield None), task]  # on the frame's stack while it waits
        yield found[0]

    waiting = pairs()
    next(waiting)
    return waiting


class _Running:
    """A generator that is running, in a thread of its own, and waits there."""

    def __init__(self, task: Any) -> None:
        self.found: Any = None
        self._entered, self._go_on = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._exhaust, args=[self._walk(task)])
        del task
        self._thread.start()
        self._entered.wait(PATIENCE)

    def _walk(self, task: Any) -> Iterator[Any]:
        self._entered.set()
        self._go_on.wait(PATIENCE)
        yield task

    def _exhaust(self, walk: Iterator[Any]) -> None:
        self.found = next(walk)

    def task(self) -> Any:
        """The last value that it yields."""
        self.end()
        return self.found

    def end(self) -> None:
        """Let the thread go."""
        self._go_on.set()
        self._thread.join(PATIENCE)

    def __del__(self) -> None:
        self.end()


async def _coroutine(task: Any) -> Any:
    await asyncio.sleep(0)
    return task


def _awaited(task: Any) -> Any:
    waiting = _coroutine(task)
    waiting.send(None)
    return waiting


def _result_of_coroutine(waiting: Any) -> Any:
    try:
        waiting.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it waits")


def _asynchronous(task: Any) -> Any:
    async def walk() -> AsyncIterator[Any]:
        yield None
        yield task

    waiting: Any = walk()
    with suppress(StopIteration):
        waiting.__anext__().send(None)
    return waiting


def _next_of_asynchronous(waiting: Any) -> Any:
    try:
        waiting.__anext__().send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it waits")


def _error(task: Any) -> Exception:
    def fail(task: Any) -> None:
        raise LookupError(len(str(type(task))))

    try:
        fail(task)
    except LookupError as error:
        return error
    raise AssertionError


def _task_in_traceback(error: Any) -> Any:
    traceback = error.__traceback__
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    return traceback.tb_frame.f_locals["task"]


def _frame(task: Any) -> Any:
    return _frame_here(task)


def _frame_here(task: Any) -> Any:
    return sys._getframe()


def _in_context(task: Any) -> Any:
    variable: contextvars.ContextVar[Any] = contextvars.ContextVar("variable")
    context = contextvars.Context()
    context.run(variable.set, task)
    return context, variable


def _in_thread_local(task: Any) -> Any:
    local = threading.local()
    local.task = task
    return local


def _cached(task: Any) -> Any:
    @functools.lru_cache
    def cached(_: int) -> Any:
        return tasks.pop()

    tasks = [task]
    cached(1)
    return cached


def _closure(task: Any) -> Any:
    return lambda: task


def _default_argument(task: Any) -> Any:
    return lambda it=task: it


class _OnAClass:
    """A class that has a task as an attribute, until this is dropped: classes themselves wait for the collector."""

    def __init__(self, task: Any) -> None:
        self.kind: Any = type("Made", (), {"task": task})

    def __del__(self) -> None:
        del self.kind.task


class _Finaliser:
    """Something to be called at a task's death, until this is dropped."""

    def __init__(self, task: Any) -> None:
        self.finaliser = weakref.finalize(task, bool)

    def __del__(self) -> None:
        self.finaliser.detach()


def _weak_value(task: Any) -> Any:
    table: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()
    table[1] = task
    return table


def _weak_key(group: Any) -> Any:
    table: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()
    table[group] = 1
    return table


def _task_in(table: Any) -> Any:
    """A task or group of a table, or of a view of one."""
    return next(iter(table.values()))


def _arg_in(value: Any) -> Any:
    return next(item for item in value.values() if hasattr(item, "operator"))


def _vars(part: Any) -> Any:
    """The attributes of a part; the part itself if it has none but slots, as some of Airflow's."""
    return getattr(part, "__dict__", None) or part


def _item(held: Any, name: str) -> Any:
    return held[name] if isinstance(held, dict) else getattr(held, name)


def _entered(iterator: Iterator[Any]) -> Iterator[Any]:
    next(iterator)
    return iterator


STRONG: dict[str, Holder] = {
    "the DAG": _of_dag(lambda dag: dag, lambda held: held),
    "a task": _of_task(lambda task: task, lambda held: held),
    "the table of tasks": _of_dag(lambda dag: dag.task_dict, lambda held: _task_in(held).dag),
    "the root group": _of_dag(lambda dag: dag.task_group, _dag_of),
    "an inner group": _of_dag(_group, _dag_of),
    "the children of the root group": _of_dag(lambda dag: dag.task_group.children, lambda held: _task_in(held).dag),
    "the children of an inner group": _of_dag(lambda dag: _group(dag).children, lambda held: _task_in(held).dag),
    "an iterator over the children": _of_dag(
        lambda dag: iter(dag.task_group.children.values()), lambda held: next(held).dag
    ),
    "an iterator under way": _of_dag(
        lambda dag: _entered(iter(dag.task_group.children.values())), lambda held: next(held).dag
    ),
    "a reversed iterator": _of_dag(lambda dag: reversed(dag.task_dict.values()), lambda held: next(held).dag),
    "an iterator over items": _of_dag(lambda dag: iter(dag.task_dict.items()), lambda held: next(held)[1].dag),
    "a view of the children": _of_dag(lambda dag: dag.task_group.children.values(), lambda held: next(iter(held)).dag),
    "a view of the keys": _of_dag(lambda dag: dag.task_dict.keys(), lambda held: _task_in(held.mapping).dag),
    "a view of the items": _of_dag(lambda dag: dag.task_dict.items(), lambda held: next(iter(held))[1].dag),
    "a list of the tasks": _of_dag(lambda dag: list(dag.task_dict.values()), lambda held: held[-1].dag),
    "a mapping proxy": _of_dag(lambda dag: types.MappingProxyType(dag.task_dict), lambda held: _task_in(held).dag),
    "a chain map": _of_dag(lambda dag: ChainMap({}, dag.task_dict), lambda held: _task_in(held).dag),
    "an expand input": _of_dag(_expand_input, lambda held: _arg_in(held.value).operator.dag),
    "the value of an expand input": _of_dag(
        lambda dag: _expand_input(dag).value, lambda held: _arg_in(held).operator.dag
    ),
    "an XComArg": _of_dag(_xcom_arg, lambda held: held.operator.dag),
    "vars() of the DAG": _of_dag(vars, lambda held: _task_in(held["task_dict"]).dag),
    "vars() of a task": lambda dag: (vars(_task(dag)), lambda held: held.get("dag") or held["_dag"]),
    "vars() of a group": _of_dag(lambda dag: _vars(_group(dag)), lambda held: _item(held, "dag")),
    "vars() of an XComArg": _of_dag(lambda dag: _vars(_xcom_arg(dag)), lambda held: _item(held, "operator").dag),
    "vars() of an expand input": _of_dag(
        lambda dag: _vars(_expand_input(dag)), lambda held: _arg_in(_item(held, "value")).operator.dag
    ),
    "an iterator over vars()": _of_dag(
        lambda dag: iter(vars(_task(dag)).values()),
        lambda held: next(item for item in held if hasattr(item, "task_dict")),
    ),
    "a shallow copy of a task": _of_task(copy.copy, lambda held: held),
    "a bound method": _of_task(lambda task: types.MethodType(_dag_of, task), lambda held: held.__self__),
    "a method of a built-in type": _of_dag(lambda dag: dag.task_dict.get, lambda held: _task_in(held.__self__).dag),
    "a method wrapper": _of_task(lambda task: task.__str__, lambda held: held.__self__),
    "a method wrapper of a container": _of_dag(
        lambda dag: dag.task_dict.__len__, lambda held: _task_in(held.__self__).dag
    ),
    "a super object": _of_task(lambda task: super(type(task), task), lambda held: held.__self__),
    "a partial": _of_task(lambda task: functools.partial(print, task), lambda held: held.args[0]),
    "a result that lru_cache remembers": _of_task(_cached, lambda held: held(1)),
    "a closure": _of_task(_closure, lambda held: held()),
    "a cell": _of_task(lambda task: _closure(task).__closure__[0], lambda held: held.cell_contents),
    "a default argument": _of_task(_default_argument, lambda held: held()),
    "an attribute of a class": _of_task(_OnAClass, lambda held: held.kind.task),
    "a generator": _of_task(_suspended, next),
    "a generator amid an expression": _of_task(_suspended_amid_an_expression, next),
    "a generator that runs": _of_task(_Running, lambda held: held.task()),
    "a coroutine": _of_task(_awaited, lambda held: _result_of_coroutine(held)),
    "an asynchronous generator": _of_task(_asynchronous, _next_of_asynchronous),
    "a frame": _of_task(_frame, lambda held: held.f_locals["task"]),
    "a traceback": _of_task(_error, _task_in_traceback),
    "a context variable": _of_task(_in_context, lambda held: held[0][held[1]]),
    "a thread's local": _of_task(_in_thread_local, lambda held: held.task),
    "a map object": _of_dag(
        lambda dag: map(operator.attrgetter("dag"), dag.task_dict.values()), lambda held: next(held)
    ),
    "a chain object": _of_dag(lambda dag: itertools.chain(dag.task_dict.values()), lambda held: next(held).dag),
    "a tee": _of_dag(lambda dag: itertools.tee(dag.task_dict.values())[1], lambda held: next(held).dag),
}

WEAK: dict[str, Holder] = {
    "a weak reference": _of_task(weakref.ref, lambda held: held()),
    "a weak reference to the DAG": _of_dag(weakref.ref, lambda held: held()),
    "a weak reference with a callback": _of_dag(lambda dag: weakref.ref(dag, bool), lambda held: held()),
    "a proxy": _of_dag(weakref.proxy, lambda held: _task_in(held.task_dict).dag),
    "one of the DAG's own proxies": _of_task(lambda task: task.task_group, lambda held: held),
    "a weak set": _of_dag(lambda dag: weakref.WeakSet([_group(dag)]), lambda held: next(iter(held)).dag),
    "a weak table of values": _of_task(_weak_value, lambda held: held[1]),
    "a weak table of keys": _of_dag(lambda dag: _weak_key(_group(dag)), lambda held: next(iter(held)).dag),
    "a weak reference to a method": _of_task(
        lambda task: weakref.WeakMethod(types.MethodType(_dag_of, task)), lambda held: held().__self__
    ),
    "a finaliser": _of_task(_Finaliser, lambda held: held.finaliser.peek()[0]),
}

HOLDERS: dict[str, Holder] = {**STRONG, **WEAK}
