"""Mapped tasks: over literals, over results, zipped, concatenated, by keyword arguments."""

from __future__ import annotations

from tests.in_airflow.zoo.shape import Shapes, add_each, bash, empty, numbers, rows, sdk, show, show_each

SHAPES = Shapes()
_BASH = "airflow.providers.standard.operators.bash"


@SHAPES.add()
def mapped_over_literals() -> None:
    """All combinations of two lists, and the values of a dict."""
    add_each("product").expand(a=[1, 2], b=[10, 20])
    show_each("of_dict").expand(value={"x": 1, "y": [2, None]})


@SHAPES.add()
def mapped_over_results() -> None:
    """Over one result, and over two."""
    one, other = numbers("one"), numbers("other")
    add_each("both").expand(a=one, b=other)
    show_each("again").expand(value=show_each("first").expand(value=one))


@SHAPES.add()
def mapped_over_a_zip() -> None:
    """Over results that are zipped, with a default for the shorter one."""
    one, other = numbers("one"), numbers("other")
    show_each("pairs").expand(value=one.zip(other))
    show_each("filled").expand(value=one.zip(other, fillvalue=0))


@SHAPES.add()
def mapped_over_a_concatenation() -> None:
    """Over results one after the other, once by way of a function."""
    one, other = numbers("one"), numbers("other")
    show_each("all").expand(value=one.concat(other))
    show_each("doubled").expand(value=one.concat(other.map(_double)))


@SHAPES.add()
def mapped_by_kwargs() -> None:
    """By dicts of arguments: written down, and from a result."""
    add_each("literal").expand_kwargs([{"a": 1}, {"a": 2, "b": 3}])
    add_each("result").expand_kwargs(rows())
    add_each("by_function").expand_kwargs(numbers().map(_as_row))


@SHAPES.add()
def mapped_classic_operators() -> None:
    """Operators with all that can be given to each of their tasks."""
    kind = sdk("BashOperator", _BASH)
    made = kind.partial(
        task_id="bash", retries=2, pool="narrow", map_index_template="{{ task.env['N'] }}", priority_weight=7,
        trigger_rule="all_done", doc_md="*mapped*", execution_timeout=None, params={"own": 1}, queue="other",
    ).expand(bash_command=["true", "false"], env=[{"N": "1"}, {"N": "2"}])  # fmt: skip
    show("total", made.output)
    kind.partial(task_id="kwargs").expand_kwargs([{"bash_command": "true"}, {"bash_command": "false", "cwd": "/"}])


@SHAPES.add()
def mapped_setup() -> None:
    """A mapped task between a setup and its teardown."""
    up = empty("up").as_setup()
    mapped = show_each("work").expand(value=[1, 2, 3])
    up >> mapped >> empty("down").as_teardown(setups=up)


@SHAPES.add()
def mapped_and_skipped() -> None:
    """A task that is mapped over nothing, and one after it."""
    show_each("nothing").expand(value=[]) >> bash("after", trigger_rule="none_failed")


@SHAPES.add(steps=2)
def a_hundred_and_sixty_mapped_tasks() -> None:
    """Each by itself."""
    for number in range(160):
        show_each(f"mapped_{number}").expand(value=[number])


@SHAPES.add(steps=2)
def a_hundred_and_sixty_mapped_tasks_in_a_chain() -> None:
    """Each over the result of the one before; the last one comes first in the order of names."""
    result = numbers()
    for number in range(160):
        result = show_each(f"mapped_{160 - number:03}").expand(value=result)


def _double(number: int) -> int:
    return number * 2


def _as_row(number: int) -> dict[str, int]:
    return {"a": number}
