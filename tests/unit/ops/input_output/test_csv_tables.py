"""Tests of tables as different spreadsheet programs write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.input_output.csv_tables import CsvTable, read_table, renamed
from services.contracts.errors import Refused

KNOWN = ("id", "name", "site")


def read(text: str) -> CsvTable:
    return read_table(text.encode(), known=KNOWN, required=("id",))


@pytest.mark.parametrize(
    "text",
    [
        "id,name\ng1,Asha\n",
        "id,name\r\ng1,Asha\r\n",
        "id,name\rg1,Asha\r",
        "id,name\ng1,Asha",
        "ID,Name\ng1,Asha\n",
        "id, name\ng1, Asha\n",
        " Id ,\tNAME \ng1,Asha\n",
        '"id","name"\n"g1","Asha"\n',
        "id;name\ng1;Asha\n",
        "id\tname\ng1\tAsha\n",
        "id|name\ng1|Asha\n",
        "sep=,\nid,name\ng1,Asha\n",
        "sep=;\r\nid;name\r\ng1;Asha\r\n",
        '"sep=;"\nid;name\ng1;Asha\n',
        "SEP=\t\nid\tname\ng1\tAsha\n",
        "id,name,\ng1,Asha,\n",
        "id,name,,\ng1,Asha,,\n",
        "id,name\ng1,Asha,,\n",
        "\n\nid,name\n\ng1,Asha\n\n,\n",
        "\ufeffid,name\ng1,Asha\n",
        "name,id\nAsha,g1\n",
    ],
)
def test_one_row_is_read_from_each_way_to_write_it(text: str) -> None:
    table = read(text)
    [row] = table.rows
    assert row.problem == ""
    assert table.fields(row) == {"id": "g1", "name": "Asha"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("sep=;\n", "^the file is empty: line 1 must name the columns id"),
        (",,\n", "^the file is empty"),
        ("name\nAsha\n", r"^line 1 has the columns name; wanted: id, name, site \(id must be there\)"),
        ("g1,Asha\n", "^line 1 has the columns g1, asha; wanted"),
        ("id,nmae\n", "^line 1 has the columns id, nmae; wanted"),
        ("id,name,ID\n", "^the column id is there twice: keep one of them"),
        ("id,Name, name\n", "^the column name is there twice"),
        ('id,name\ng1,"Asha\n', "^line 2: the file is not CSV"),
        ('id,name\ng1,"As"ha\n', "^line 2: the file is not CSV"),
        ('sep=,\nid,name\ng1,"Asha\n', "^line 3: the file is not CSV"),
        (",".join(f"c{n}" for n in range(50)), r"c0, c1, c2, c3, c4, c5, c6, c7, \.\.\."),
        ("sep=;\nid,name\ng1,Asha\n", "^line 1 has the columns id,name; wanted"),
        ("id,name\ng1," + "x" * 200_000, "^line 2: the file is not CSV"),
        ("x" * 200_000 + ",id,name\ng1,a", "^line 1: the file is not CSV"),
        ("[" * 200_000, "^line 1: the file is not CSV"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_place_and_the_remedy(text: str, said: str) -> None:
    with pytest.raises(Refused, match=said):
        read(text)


def test_a_row_with_the_wrong_number_of_cells_is_named_and_the_others_are_read() -> None:
    table = read("sep=,\nid,name\n\ng1\ng2,Ravi\ng3,a,b\n")
    assert [(row.number, row.problem) for row in table.rows] == [
        (4, "it has 1 cells, and the header has 2 columns"),
        (5, ""),
        (6, "it has 3 cells, and the header has 2 columns"),
    ]


def test_other_columns_are_taken_where_they_do_no_harm() -> None:
    table = read_table(b"id,shoe size\ng1,44\n", known=KNOWN, required=("id",), others=True)
    assert table.fields(table.rows[0]) == {"id": "g1", "shoe_size": "44"}


def test_columns_are_found_by_the_first_of_their_names_that_is_there() -> None:
    assert renamed(
        ["lng", "latitude", "lat"], {"lat": ("lat", "latitude"), "lon": ("lon", "lng"), "x": ("x",)}
    ) == {
        "lat": 2,
        "lon": 0,
    }


@given(st.binary(max_size=100))
def test_no_bytes_make_it_raise_anything_but_refused(document: bytes) -> None:
    try:
        read_table(document, known=KNOWN, required=("id",))
    except Refused as error:
        assert str(error)
