from runtime.contract.logs import Cursor
from runtime.logs import shipped


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "shipped" / "cursor"
    assert shipped.read(path) == shipped.BEGINNING
    for offset in (5, 7):
        shipped.write(path, Cursor(generation=3, offset=offset))
    assert shipped.read(path) == Cursor(generation=3, offset=7)
    assert [each.name for each in path.parent.iterdir()] == ["cursor"]


def test_a_torn_one_is_the_beginning(tmp_path):
    for text in ("", "3", "3:", "x:y"):
        path = tmp_path / "cursor"
        path.write_text(text)
        assert shipped.read(path) == shipped.BEGINNING
