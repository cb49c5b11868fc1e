import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from nodeagent.metrics.exposition import counter, gauge, histogram, labels, render


def parse(text: bytes):
    return list(text_string_to_metric_families(text.decode()))


def test_the_whole_format():
    text = render(
        [
            gauge("a_bytes", "Line\none \\ two.", [("", 3), (labels(x="1", y="2"), 0.5)]),
            counter("b_total", "B.", [(labels(k='q"\\\n'), 10**18)]),
            gauge("left_out", "No samples.", []),
        ]
    )
    assert text.decode() == (
        "# HELP a_bytes Line\\none \\\\ two.\n# TYPE a_bytes gauge\n"
        'a_bytes 3\na_bytes{x="1",y="2"} 0.5\n'
        "# HELP b_total B.\n# TYPE b_total counter\n"
        'b_total{k="q\\"\\\\\\n"} 1000000000000000000\n'
    )


def test_histogram():
    text = render([histogram("h_seconds", "H.", (0.1, 2.5), (1, 3, 4), 7.25)]).decode()
    assert text.splitlines()[2:] == [
        'h_seconds_bucket{le="0.1"} 1',
        'h_seconds_bucket{le="2.5"} 3',
        'h_seconds_bucket{le="+Inf"} 4',
        "h_seconds_sum 7.25",
        "h_seconds_count 4",
    ]


def test_histogram_refuses_lists_that_do_not_fit():
    with pytest.raises(ValueError, match="zip"):
        histogram("h", "H.", (0.1,), (1,), 0.0)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@given(texts, texts, texts)
def test_every_label_and_help_comes_back(one, two, help_):
    (family,) = parse(render([gauge("m", f"H{help_}.", [(labels(one=one, two=two), 1)])]))
    assert family.samples[0].labels == {"one": one, "two": two}
    assert family.documentation == f"H{help_}."


@given(st.integers(-(2**63), 2**63) | st.floats())
def test_every_value_comes_back(value):
    (family,) = parse(render([gauge("m", "M.", [("", value)])]))
    read = family.samples[0].value
    assert read == value or (math.isnan(read) and math.isnan(value))


def test_text_that_is_no_utf_8_does_not_stop_the_rest():
    text = render([gauge("m", "M.", [(labels(name="\udcff"), 1), ("", 2)])])
    assert text.decode().endswith('m{name="?"} 1\nm 2\n')
