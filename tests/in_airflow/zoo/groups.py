"""Groups of tasks: edges between them, setups in them, mapped ones."""

from __future__ import annotations

from tests.in_airflow.zoo.shape import Shapes, chained, empty, numbers, sdk, show

SHAPES = Shapes()


@SHAPES.add()
def group_without_tasks() -> None:
    """A group that is empty, beside a task."""
    with sdk("TaskGroup")("nothing"):
        pass
    empty("beside")


@SHAPES.add()
def groups_of_one_prefix() -> None:
    """Groups that share a prefix, and groups that add none."""
    with sdk("TaskGroup")("a") as one:
        empty("b")
        with sdk("TaskGroup")("a_b", prefix_group_id=False):
            empty("c")
    with sdk("TaskGroup")("a_b_c") as other:
        chained("d", "e")
    one >> other


@SHAPES.add()
def edges_between_groups() -> None:
    """Each of some groups before each of others, with labels on some edges."""
    made = []
    for number in range(4):
        with sdk("TaskGroup")(f"group_{number}", tooltip=f"the {number}th", default_args={"retries": number}) as group:
            chained("one", "two")
        made.append(group)
    made[0] >> sdk("Label")("first") >> [made[1], made[2]] >> made[3]
    empty("begin") >> made


@SHAPES.add()
def setup_in_a_group() -> None:
    """A setup and a teardown within a group within a group."""
    with sdk("TaskGroup")("outer"), sdk("TaskGroup")("inner"):
        up, work, down = empty("up").as_setup(), empty("work"), empty("down")
        up >> work >> down.as_teardown(setups=[up])


@SHAPES.add()
def setup_around_groups() -> None:
    """Two setups and two teardowns, one within the other, around groups."""
    outer, inner = empty("outer_up").as_setup(), empty("inner_up").as_setup()
    with sdk("TaskGroup")("work") as work:
        chained("one", "two")
    outer >> inner >> work
    inner_down = empty("inner_down").as_teardown(setups=inner)
    outer_down = empty("outer_down").as_teardown(setups=outer, on_failure_fail_dagrun=True)
    work >> inner_down >> outer_down


@SHAPES.add()
def mapped_group_of_one() -> None:
    """A mapped group with a single task."""

    @sdk("task_group")
    def only(number: int) -> None:
        show("only", number)

    only.expand(number=[1, 2, 3])


@SHAPES.add()
def mapped_group_of_many() -> None:
    """A mapped group with tasks that depend on each other."""

    @sdk("task_group")
    def many(number: int) -> None:
        first = show("first", number)
        for position in range(5):
            show(f"later_{position}", first)

    many.expand(number=[1, 2])


@SHAPES.add()
def mapped_group_by_xcom() -> None:
    """A group that is mapped over the result of a task, between tasks."""

    @sdk("task_group")
    def each(number: int) -> None:
        show("second", show("first", number))

    each.expand(number=numbers()) >> empty("after")


@SHAPES.add()
def mapped_group_by_kwargs() -> None:
    """A group that is mapped by several arguments at once."""

    @sdk("task_group")
    def each(number: int, text: str) -> None:
        show("number", number)
        show("text", text)

    each.expand_kwargs([{"number": 1, "text": "one"}, {"number": 2, "text": "two"}])


@SHAPES.add()
def mapped_group_in_groups() -> None:
    """A mapped group within a group, with a group and a teardown within it."""

    @sdk("task_group")
    def each(number: int) -> None:
        up = show("up", number).operator.as_setup()
        with sdk("TaskGroup")("inner"):
            work = show("work", number).operator
        up >> work >> empty("down").as_teardown(setups=up)

    with sdk("TaskGroup")("outer"):
        each.expand(number=[1, 2])
