import msgspec
import pytest

from nodeagent.cli.changes import parse_changes
from nodeagent.cli.grammar import UsageError
from nodeagent.rpc.schema.image import ImageImport


@pytest.mark.parametrize(
    ("lines", "wanted"),
    [
        ([], {}),
        (['CMD ["sh", "-l"]'], {"cmd": ["sh", "-l"]}),
        (["cmd echo $A"], {"cmd": ["/bin/sh", "-c", "echo $A"]}),
        (['ENTRYPOINT ["/init"]'], {"entrypoint": ["/init"]}),
        (["ENV A=1 B='2 3'", "ENV C all of it"], {"env": ["A=1", "B=2 3", "C=all of it"]}),
        (["LABEL a=b", "LABEL a=c d=e"], {"labels": {"a": "c", "d": "e"}}),
        (["EXPOSE 80 53/udp"], {"exposed_ports": ["80/tcp", "53/udp"]}),
        (["VOLUME /a /b", 'VOLUME ["/c"]'], {"volumes": ["/a", "/b", "/c"]}),
        (["HEALTHCHECK NONE"], {"health": {"test": ["NONE"]}}),
        (['HEALTHCHECK CMD ["a", "b"]'], {"health": {"test": ["CMD", "a", "b"]}}),
        (
            ["HEALTHCHECK --interval=1m30s --retries=2 CMD a || b"],
            {"health": {"test": ["CMD-SHELL", "a || b"], "interval_s": 90.0, "retries": 2}},
        ),
        (["USER app", "WORKDIR /srv"], {"user": "app", "working_dir": "/srv"}),
    ],
)
def test_instructions(lines, wanted):
    assert parse_changes(lines) == wanted
    msgspec.convert(wanted, ImageImport)


@pytest.mark.parametrize(
    "line",
    ["HEALTHCHECK x", "HEALTHCHECK CMD", "HEALTHCHECK --x=1 CMD a", "HEALTHCHECK --retries=x CMD a",
     "HEALTHCHECK --interval=1 CMD a", "HEALTHCHECK --retries=1 NONE"],
)  # fmt: skip
def test_mistakes_of_a_health_check(line):
    with pytest.raises(UsageError, match=r"^--change:? HEALTHCHECK"):
        parse_changes([line])


@pytest.mark.parametrize("line", ["", "RUN x", "CMD", "CMD [1]", 'CMD ["a"', "ENV A='", "EXPOSE x"])
def test_mistakes(line):
    with pytest.raises(UsageError, match=r"^--(change|expose)"):
        parse_changes([line])
