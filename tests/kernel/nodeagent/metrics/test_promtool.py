"""What Prometheus' own tool says of our metrics and alert rules: nothing, and yes."""

import re
import subprocess
from pathlib import Path

import pytest

from nodeagent.metrics.collectors import collect
from nodeagent.metrics.exposition import render
from nodeagent.metrics.own import OwnMetrics
from tests.fakes.metrics_snapshot import full_snapshot

ALERTS = Path(__file__).parents[4] / "packaging/alerts.yml"


def everything() -> bytes:
    own = OwnMetrics()
    own.observe_call("container.ls", "ok", 0.01)
    return render([*collect(full_snapshot()), *own.collect()])


def promtool(*args, stdin=b""):
    return subprocess.run(
        ["/usr/bin/promtool", *args], input=stdin, check=False, capture_output=True, timeout=30
    )


def test_promtool_has_no_complaint_about_the_metrics():
    done = promtool("check", "metrics", stdin=everything())
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_promtool_would_complain():
    done = promtool("check", "metrics", stdin=b"bad_count 1\n")
    assert done.returncode != 0


def test_promtool_accepts_the_alert_rules():
    done = promtool("check", "rules", str(ALERTS))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", sorted(set(re.findall(r"nodeagent_\w+", ALERTS.read_text()))))
def test_alerts_ask_for_metrics_that_exist(name):
    assert re.search(rf"^{name}[ {{]", everything().decode(), re.MULTILINE), name
