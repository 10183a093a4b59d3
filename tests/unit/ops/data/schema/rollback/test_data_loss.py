import pytest

from ops.data.schema.rollback.data_loss import (
    ForeignKey,
    TableColumn,
    TableShape,
    digest,
    equal,
    in_order,
    losses,
    quoted,
)
from services.contracts.errors import Refused

ID = TableColumn("integer", required=True)
TEXT = TableColumn("text")


def table(
    key: tuple[str, ...] = ("id",), references: tuple[ForeignKey, ...] = (), **columns: TableColumn
) -> TableShape:
    return TableShape({"id": ID, **columns}, key, references)


def test_a_schema_that_stays_loses_nothing() -> None:
    schema = {"a": table(x=TEXT)}
    assert losses(schema, schema, []) == []


def test_a_table_that_vanishes_is_kept_whole_without_what_is_generated() -> None:
    before = {"a": table(x=TEXT, made=TableColumn("text", generated=True))}
    [loss] = losses(before, {}, [])
    assert (loss.gone, loss.key, loss.held) == (True, ["id"], ["id", "x"])
    assert str(loss) == "table a"


def test_a_column_that_vanishes_is_kept_with_the_key_and_what_others_refer_to() -> None:
    child = table(references=(ForeignKey(("tenant", "a"), "a", ("tenant", "id")),), tenant=ID, a=ID)
    before = {"a": table(tenant=ID, x=TEXT, y=TEXT), "child": child}
    [loss] = losses(before, {"a": table(tenant=ID, y=TEXT), "child": child}, [])
    assert (loss.lost, loss.held, loss.merged, loss.gone) == (["x"], ["id", "tenant", "x"], [], False)
    assert loss.common == ["tenant", "y"]
    assert str(loss) == "columns x of a"


def test_a_column_that_changes_its_type_is_lost_as_it_was() -> None:
    [loss] = losses({"a": table(x=TEXT)}, {"a": table(x=TableColumn("integer"))}, [])
    assert loss.lost == ["x"]


def test_of_a_table_that_the_downgrade_writes_to_every_value_is_kept() -> None:
    schema = {"a": table(x=TEXT, y=TEXT)}
    [loss] = losses(schema, {"a": table(y=TEXT)}, ["a"])
    assert (loss.lost, loss.merged, loss.common, loss.held) == (["x"], ["y"], [], ["id", "x", "y"])
    [loss] = losses(schema, schema, ["a"])
    assert (loss.lost, loss.merged) == ([], ["x", "y"])
    assert str(loss) == "rows that the older schema has no place for of a"


@pytest.mark.parametrize(("key", "left"), [((), table(())), (("x",), table(("id",)))])
def test_rows_that_no_key_tells_apart_are_not_taken_down(key: tuple[str, ...], left: TableShape) -> None:
    with pytest.raises(Refused, match="rows of a would lose x"):
        losses({"a": table(key, x=TEXT)}, {"a": left}, [])


def test_parents_come_before_those_who_refer_to_them_and_oneself_is_no_parent() -> None:
    to_b, to_self = ForeignKey(("b",), "b", ("id",)), ForeignKey(("up",), "a", ("id",))
    schema = {
        "a": table(references=(to_b, to_self)),
        "b": table(),
        "c": table(references=(ForeignKey(("a",), "a", ("id",)),)),
    }
    assert in_order(schema) == ["b", "a", "c"]
    assert [loss.table for loss in losses(schema, {}, [])] == ["b", "a", "c"]


def test_names_in_sql_are_quoted() -> None:
    assert quoted('by"x') == '"by""x"'
    assert digest(["a", "by"]) == 'md5(ROW("a"::text, "by"::text)::text)::uuid'
    assert equal("l", "r", ["a", "by"]) == 'l."a" = r."a" AND l."by" = r."by"'
