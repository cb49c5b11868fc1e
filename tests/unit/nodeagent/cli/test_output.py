import json

import pytest

from nodeagent.cli.output import (
    human_bytes,
    json_pretty,
    render_list,
    render_table,
    short_id,
    shorten,
)

COLUMNS = (("CONTAINER ID", "ID"), ("NAMES", "Names"))
ROWS = [
    {"ID": "abc", "Names": "web", "CreatedAt": "x"},
    {"ID": "def", "Names": "db", "CreatedAt": ""},
]


def test_table_is_aligned_as_dockers():
    assert render_table(("A", "LONG HEADING", "C"), [("1", "2", "3"), ("a long cell", "", "")]) == (
        "A             LONG HEADING   C\n1             2              3\na long cell\n"
    )


def test_table_without_rows_has_its_heading():
    assert render_table(("A", "B"), []) == "A         B\n"


@pytest.mark.parametrize("format_", ["", "table"])
def test_list_as_table(format_):
    assert render_list(ROWS, COLUMNS, format_) == (
        "CONTAINER ID   NAMES\nabc            web\ndef            db\n"
    )


def test_list_as_json_is_one_object_a_line():
    lines = render_list(ROWS, COLUMNS, "json").splitlines()
    assert [json.loads(line) for line in lines] == ROWS


def test_list_by_template():
    assert render_list(ROWS, COLUMNS, r"{{.ID}}\t{{.Names}}") == "abc\tweb\ndef\tdb\n"


def test_list_by_table_template_has_headings():
    out = render_list(ROWS, COLUMNS, r"table {{.Names}}\t{{.CreatedAt}}")
    assert out == "NAMES     CREATED AT\nweb       x\ndb\n"


def test_empty_list_as_json_prints_nothing():
    assert render_list([], COLUMNS, "json") == ""


def test_pretty_json_is_indented_as_dockers():
    assert (
        json_pretty([{"Id": "a", "N": []}])
        == '[\n    {\n        "Id": "a",\n        "N": []\n    }\n]'
    )


@pytest.mark.parametrize(
    ("count", "decimal", "binary"),
    [(0, "0B", "0B"), (999, "999B", "999B"), (1000, "1kB", "1000B"),
     (1_234_567, "1.235MB", "1.177MiB"),
     (5 * 10**9, "5GB", "4.657GiB"), (10**18, "1000PB", "888.2PiB")],
)  # fmt: skip
def test_sizes(count, decimal, binary):
    assert (human_bytes(count), human_bytes(count, binary=True)) == (decimal, binary)


def test_short_words():
    assert short_id("sha256:0123456789abcdef") == "0123456789ab"
    assert shorten("abcdef", 4) == "abc…"
    assert shorten("abcd", 4) == "abcd"
