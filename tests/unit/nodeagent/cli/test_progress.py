import re

from hypothesis import given
from hypothesis import strategies as st

from nodeagent.cli.progress import Bars, Lines, Progress, render_layer


def _item(layer, status, done=0, total=0):
    return {"layer": layer, "status": status, "current_bytes": done, "total_bytes": total}


def test_a_layer_on_its_way_has_a_bar():
    line = render_layer(_item("sha256:0123456789abcdef", "Downloading", 500, 1000))
    assert line == "0123456789ab: Downloading [" + "=" * 20 + ">" + " " * 20 + "] 500B/1kB"


def test_a_layer_that_is_done_has_none():
    assert render_layer(_item("a", "Pull complete", 5, 5)) == "a: Pull complete"
    assert render_layer(_item("", "Pulling from x")) == "Pulling from x"


class Screen:
    """The part of a terminal that the bars use."""

    def __init__(self) -> None:
        self.lines, self.row = [""], 0

    def write(self, text: str) -> None:
        for part in re.findall(r"\x1b\[\d*[A-Z]|\r|\n|[^\x1b\r\n]+", text):
            if part == "\n":
                self.row += 1
                self.lines += [""] * (self.row + 1 - len(self.lines))
            elif part == "\r":
                pass
            elif part == "\x1b[2K":
                self.lines[self.row] = ""
            elif part.startswith("\x1b"):
                self.row += int(part[2:-1]) * (-1 if part[-1] == "A" else 1)
            else:
                self.lines[self.row] = part


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 9)), max_size=30))
def test_each_layer_keeps_its_line(steps):
    bars, screen, last = Bars(), Screen(), {}
    for layer, done in steps:
        item = _item(layer, "Downloading", done, 9)
        last[layer] = render_layer(item)
        screen.write(bars.feed(item))
    assert screen.lines == [*last.values(), ""]


def test_plain_lines_tell_changes_only():
    lines = Lines()
    items = [_item("a", "Downloading", n, 9) for n in range(3)] + [_item("a", "Pull complete")]
    assert [lines.feed(item) for item in items] == [
        "a: Downloading\n",
        "",
        "",
        "a: Pull complete\n",
    ]


def test_progress_knows_whether_bytes_came():
    old, new = Progress(None), Progress(None)
    old.show([_item("a", "Already exists")])
    new.show([_item("a", "Already exists"), _item("b", "Downloading", 0, 9)])
    assert (old.has_fetched, new.has_fetched) == (False, True)
