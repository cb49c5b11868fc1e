import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeagent.cli.grammar import (
    NO_WORDS,
    Flag,
    UsageError,
    Verb,
    Words,
    check_words,
    many,
    number,
    one,
    parse,
    render_help,
    several,
    switch,
    text,
)

FLAGS = (
    switch("interactive", "", "i"),
    switch("tty", "", "t"),
    switch("sig-proxy", "", default=True),
    many("publish", "", "p"),
    many("env", "", "e"),
    text("name", ""),
    number("time", ""),
    Flag(name="pull", help="", default="missing", choices=("missing", "never")),
)


@pytest.mark.parametrize(
    ("argv", "name", "wanted"),
    [
        (["--name", "web"], "name", "web"),
        (["--name=web"], "name", "web"),
        (["--name="], "name", ""),
        (["--name", "-x"], "name", "-x"),
        (["--name", "a", "--name", "b"], "name", "b"),
        (["--name=a=b"], "name", "a=b"),
        (["--pull", "never"], "pull", "never"),
        ([], "pull", "missing"),
    ],
)
def test_text_flags(argv, name, wanted):
    values, words = parse(FLAGS, argv)
    assert (values.text(name), words) == (wanted, [])


@pytest.mark.parametrize(
    ("argv", "interactive", "tty", "publish"),
    [
        (["-it"], True, True, []),
        (["-i", "-t"], True, True, []),
        (["-itp80:80"], True, True, ["80:80"]),
        (["-itp", "80:80"], True, True, ["80:80"]),
        (["-p=80:80"], False, False, ["80:80"]),
        (["-p", "1", "-p2", "--publish=3", "--publish", "4"], False, False, ["1", "2", "3", "4"]),
        (["--tty=false", "-i=true"], True, False, []),
        (["--tty", "--tty=0"], False, False, []),
    ],
)
def test_short_flags(argv, interactive, tty, publish):
    values, words = parse(FLAGS, argv)
    assert values.is_on("interactive") is interactive
    assert values.is_on("tty") is tty
    assert values.list("publish") == publish
    assert words == []


def test_a_switch_that_is_on_can_be_turned_off():
    assert parse(FLAGS, [])[0].is_on("sig-proxy")
    assert not parse(FLAGS, ["--sig-proxy=false"])[0].is_on("sig-proxy")


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["busybox", "httpd", "-f", "--name", "x"], ["busybox", "httpd", "-f", "--name", "x"]),
        (["-i", "busybox", "-i"], ["busybox", "-i"]),
        (["-i", "--", "-busy", "--", "x"], ["-busy", "--", "x"]),
        (["busybox", "--", "x"], ["busybox", "--", "x"]),
    ],
)
def test_what_follows_the_first_word_is_not_read(argv, words):
    assert parse(FLAGS, argv, options_first=True)[1] == words


def test_flags_and_words_may_be_mixed():
    values, words = parse(FLAGS, ["a", "-i", "b", "--name", "n", "--", "-c"])
    assert words == ["a", "b", "-c"]
    assert values.is_on("interactive")
    assert values.text("name") == "n"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--frob"], "unknown flag: --frob"),
        (["-iz"], "unknown shorthand flag: 'z' in -iz"),
        (["--name"], "flag needs an argument: --name"),
        (["-p"], "flag needs an argument: -p"),
        (["--tty=maybe"], "--tty: 'maybe' is neither true nor false"),
        (["--time", "soon"], "--time: 'soon' is not a whole number"),
        (["--pull=often"], "--pull: 'often' is not one of missing, never"),
    ],
)
def test_mistakes_are_named(argv, message):
    with pytest.raises(UsageError) as caught:
        parse(FLAGS, argv)
    assert str(caught.value) == message


@given(st.lists(st.text(max_size=6), max_size=8), st.booleans())
def test_any_words_give_values_or_a_usage_error(argv, options_first):
    try:
        values, words = parse(FLAGS, argv, options_first=options_first)
    except UsageError:
        return
    assert all(word in argv for word in words)
    assert values.given <= {flag.name for flag in FLAGS}


@given(st.lists(st.text(max_size=5), max_size=4), st.lists(st.text(max_size=5), max_size=4))
def test_values_come_back_as_they_were_given(env, words):
    argv = [part for value in env for part in ("-e", value)]
    values, rest = parse(FLAGS, [*argv, "--", *words])
    assert values.list("env") == env
    assert rest == words


def _verb(words: Words) -> Verb:
    return Verb(name="rm", help="Remove", run=lambda _call: 0, words=words)


@pytest.mark.parametrize(
    ("words", "given_", "message"),
    [
        (NO_WORDS, ["a"], '"x rm" accepts no arguments; usage: x rm'),
        (one("C"), [], '"x rm" requires exactly 1 argument; usage: x rm C'),
        (several("C"), [], '"x rm" requires at least 1 argument; usage: x rm C [C...]'),
        (
            Words(usage="A [B]", least=1, most=2),
            ["a", "b", "c"],
            '"x rm" requires at most 2 arguments; usage: x rm A [B]',
        ),
    ],
)
def test_number_of_words(words, given_, message):
    with pytest.raises(UsageError) as caught:
        check_words("x rm", _verb(words), given_)
    assert str(caught.value) == message


def test_right_number_of_words():
    check_words("x rm", _verb(several("C", least=0)), [])
    check_words("x rm", _verb(one("C")), ["a"])


def test_help_names_everything():
    verb = Verb(
        name="rm",
        help="Remove containers",
        run=lambda _call: 0,
        flags=(switch("force", "Kill them", "f"), number("time", "Seconds", "t", 10)),
        words=several("C"),
        aliases=("remove",),
        examples=("x rm a",),
    )
    assert render_help("x rm", verb) == (
        "Usage:  x rm [OPTIONS] C [C...]\n\nRemove containers\n\nAliases:\n  rm, remove\n\n"
        "Examples:\n  x rm a\n\nOptions:\n  -f, --force      Kill them\n"
        "  -t, --time int   Seconds (default 10)\n"
    )
