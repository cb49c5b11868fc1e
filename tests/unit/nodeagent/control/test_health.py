"""From probes to a status, and from flags and image to a check."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeagent.control.health import (
    LOG_ENTRIES,
    MOVES,
    OUTPUT_MAX_BYTES,
    TIMED_OUT,
    Health,
    Result,
    advance,
    build_output,
    grace_s,
    image_check,
    pace_s,
    resolve_check,
    status_words,
)
from nodeagent.errors import Invalid
from nodeagent.model.health import HealthRecord, HealthSettings
from runtime.imageconfig import HealthCheck, ImageConfig

CHECK = HealthRecord(
    test=["CMD", "true"], args=["true"], interval_s=10.0, timeout_s=1.0, start_period_s=0.0,
    start_interval_s=2.0, retries=3,
)  # fmt: skip
SLOW = HealthRecord(
    test=["CMD", "true"], args=["true"], interval_s=10.0, timeout_s=1.0, start_period_s=60.0,
    start_interval_s=2.0, retries=2,
)  # fmt: skip
OLD_S = 1000.0


def result(code: int, at: float = 0.0) -> Result:
    return Result(start=at, end=at + 0.1, exit_code=code, output="")


def after(check: HealthRecord, *codes: int, age_s: float = OLD_S) -> Health:
    health = Health()
    for code in codes:
        health = advance(check, health, result(code), age_s=age_s)
    return health


@pytest.mark.parametrize(
    ("codes", "status", "streak"),
    [
        ((), "starting", 0),
        ((0,), "healthy", 0),
        ((1, 1), "starting", 2),
        ((1, TIMED_OUT, 7), "unhealthy", 3),
        ((0, 1, 1), "healthy", 2),
        ((0, 1, 1, 0, 1, 1), "healthy", 2),
        ((0, 1, 1, 1), "unhealthy", 3),
        ((1, 1, 1, 1), "unhealthy", 4),
        ((1, 1, 1, 0), "healthy", 0),
    ],
)
def test_a_status_follows_from_the_probes(codes, status, streak):
    health = after(CHECK, *codes)
    assert (health.status, health.failing_streak) == (status, streak)


def test_failures_in_the_start_period_do_not_count_until_one_passed():
    assert after(SLOW, 1, 1, 1, 1, age_s=59.9) == after(SLOW, 1, 1, 1, 1, age_s=0.0)
    early = after(SLOW, 1, 1, 1, 1, age_s=59.9)
    assert (early.status, early.failing_streak) == ("starting", 0)
    assert after(SLOW, 0, 1, 1, age_s=5.0).status == "unhealthy"
    late = advance(SLOW, early, result(1), age_s=60.0)
    assert (late.status, late.failing_streak) == ("starting", 1)


def test_no_failure_counts_before_the_first_interval():
    assert after(CHECK, 1, 1, 1, 1, age_s=9.9).failing_streak == 0
    assert after(CHECK, 0, age_s=2.0).status == "healthy"


def test_the_pace_is_that_of_the_start_until_healthy_or_the_period_ends():
    assert pace_s(SLOW, Health(), age_s=0.0) == 2.0
    assert pace_s(SLOW, Health(), age_s=59.0) == 2.0
    assert pace_s(SLOW, Health(), age_s=60.0) == 10.0
    assert pace_s(SLOW, Health(status="healthy"), age_s=5.0) == 10.0
    assert pace_s(CHECK, Health(), age_s=0.0) == 2.0
    assert pace_s(CHECK, Health(), age_s=9.5) == 0.5  # the first that counts is where Docker's is
    assert pace_s(CHECK, Health(), age_s=10.0) == 10.0


times = st.floats(0.001, 1000.0)
checks = st.builds(
    HealthRecord, test=st.just(["CMD", "x"]), args=st.just(["x"]), interval_s=times,
    timeout_s=times, start_period_s=st.floats(0.0, 1000.0), start_interval_s=times,
    retries=st.integers(1, 5),
)  # fmt: skip
probes = st.lists(st.tuples(st.integers(-1, 2), st.floats(0.0, 50.0)), max_size=40)


@given(checks, probes)
def test_whatever_the_probes_say(check, probes):
    health, age_s, past = Health(), 0.0, []
    for code, later_s in probes:
        age_s += later_s
        before, health = health, advance(check, health, result(code, age_s), age_s=age_s)
        past.append((code, age_s))
        assert health.log == tuple(result(*each) for each in past)[-LOG_ENTRIES:]
        assert (health.failing_streak == 0) or code != 0
        assert health.failing_streak <= before.failing_streak + 1
        assert (health.status == "healthy") <= any(code == 0 for code, _ in past)
        if code == 0:
            assert health.status == "healthy"
        if health.status == "unhealthy":
            assert health.failing_streak >= check.retries
        if health.status != before.status:
            assert health.status in {to for (at, _), to in MOVES.items() if at == before.status}
        if all(code != 0 and age < grace_s(check) for code, age in past):
            assert (health.status, health.failing_streak) == ("starting", 0)
        assert (
            0.0
            < pace_s(check, health, age_s=age_s)
            <= max(check.interval_s, check.start_interval_s)
        )


@given(st.binary(max_size=3 * OUTPUT_MAX_BYTES))
def test_output_is_text_and_bounded(output):
    text = build_output(output, timeout_s=None)
    assert len(text) <= OUTPUT_MAX_BYTES
    assert text == output[:OUTPUT_MAX_BYTES].decode(errors="replace")


def test_a_probe_over_its_time_says_so_with_what_it_had_said():
    assert build_output(b"", timeout_s=90.0) == "Health check exceeded timeout (1m30s)"
    assert build_output(b"hm\n", timeout_s=0.5) == "Health check exceeded timeout (500ms): hm\n"


def test_words():
    assert [status_words(each) for each in ("starting", "healthy", "unhealthy")] == [
        "(health: starting)", "(healthy)", "(unhealthy)"
    ]  # fmt: skip


IMAGE = ImageConfig(
    healthcheck=HealthCheck(test=("CMD-SHELL", "probe"), interval_s=7.0, retries=9),
    shell=("/bin/ash", "-ec"),
)


def test_defaults_are_dockers():
    found = resolve_check(HealthSettings(test=["CMD", "true", "x"]), ImageConfig())
    assert found == HealthRecord(
        test=["CMD", "true", "x"], args=["true", "x"], interval_s=30.0, timeout_s=30.0,
        start_period_s=0.0, start_interval_s=5.0, retries=3,
    )  # fmt: skip


def test_the_request_goes_before_the_image():
    found = resolve_check(HealthSettings(interval_s=1.5), IMAGE, "kill")
    assert found is not None
    assert (found.args, found.interval_s, found.retries) == (["/bin/ash", "-ec", "probe"], 1.5, 9)
    assert found.on_unhealthy == "kill"
    other = resolve_check(HealthSettings(test=["CMD-SHELL", "other"]), IMAGE)
    assert other is not None
    assert (other.args[-1], other.interval_s) == ("other", 7.0)


def test_no_check():
    assert resolve_check(HealthSettings(), ImageConfig()) is None
    assert resolve_check(HealthSettings(test=["NONE"]), IMAGE) is None
    none = ImageConfig(healthcheck=HealthCheck(test=("NONE",)))
    assert resolve_check(HealthSettings(), none) is None
    with pytest.raises(Invalid, match="neither the image"):
        resolve_check(HealthSettings(), ImageConfig(), "stop")


def test_what_an_import_says():
    assert image_check(HealthSettings()) is None
    check = HealthCheck(test=("CMD", "x"), interval_s=2.0, retries=4)
    assert image_check(HealthSettings(test=["CMD", "x"], interval_s=2.0, retries=4)) == check
    assert image_check(HealthSettings(test=["NONE"])) == HealthCheck(test=("NONE",))
    with pytest.raises(Invalid):
        image_check(HealthSettings(test=["true"]))


@pytest.mark.parametrize(
    ("asked", "image", "field"),
    [
        (HealthSettings(interval_s=1.0), ImageConfig(), "health"),
        (HealthSettings(retries=1), ImageConfig(), "health"),
        (HealthSettings(test=["NONE"], retries=1), IMAGE, "health"),
        (HealthSettings(test=["CMD"]), IMAGE, "health.test"),
        (HealthSettings(test=["CMD-SHELL", "a", "b"]), IMAGE, "health.test"),
        (HealthSettings(test=["true"]), IMAGE, "health.test"),
        (HealthSettings(interval_s=0.0001), IMAGE, "health.interval_s"),
        (HealthSettings(), ImageConfig(healthcheck=HealthCheck(test=("CMD", "x"), timeout_s=-1.0)),
         "health.timeout_s"),
        (HealthSettings(), ImageConfig(healthcheck=HealthCheck(test=("CMD", "x"), retries=-1)),
         "health.retries"),
    ],
)  # fmt: skip
def test_what_cannot_be_names_the_field(asked, image, field):
    with pytest.raises(Invalid) as caught:
        resolve_check(asked, image)
    assert caught.value.fields["field"] == field
