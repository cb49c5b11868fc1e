"""Manifests and configs from strangers."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime import errors
from runtime.image.manifest import (
    DOCKER_MANIFEST,
    OCI_MANIFEST,
    Index,
    Manifest,
    build_config,
    history_of,
    pair_layers,
    parse_config,
    parse_document,
    platform_of,
    run_config,
)
from runtime.image.platform import Platform
from runtime.imageconfig import HealthCheck, ImageConfig
from tests.fakes.registry_images import build_image, build_list, tar_of

IMAGE = build_image([tar_of(("a", b"1"))])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
MANIFEST = json.loads(IMAGE.manifest)


def test_manifest_and_list():
    document = parse_document(IMAGE.manifest, "")
    assert isinstance(document, Manifest)
    assert [layer.digest for layer in document.layers] == IMAGE.layers
    index = parse_document(build_list({"linux/arm64/v8": IMAGE}), "")
    assert isinstance(index, Index)
    assert index.manifests[0].platform.variant == "v8"


def test_docker_schema_2():
    image = build_image([tar_of(("a", b"1"))], docker=True)
    assert parse_document(image.manifest, "").mediaType == DOCKER_MANIFEST


def test_the_header_tells_the_kind_if_the_body_does_not():
    body = {key: value for key, value in MANIFEST.items() if key != "mediaType"}
    document = parse_document(json.dumps(body).encode(), f"{OCI_MANIFEST}; charset=utf-8")
    assert document.mediaType == OCI_MANIFEST
    with pytest.raises(errors.Refused):
        parse_document(json.dumps(body).encode(), "text/plain")


@given(st.binary(max_size=200))
def test_any_bytes_are_refused(body):
    for parse in (parse_config, lambda one: parse_document(one, OCI_MANIFEST)):
        with pytest.raises(errors.Refused):
            parse(body)


@given(st.sampled_from(sorted(MANIFEST)), JSON)
def test_any_value_is_taken_or_refused(key, value):
    body = json.dumps({**MANIFEST, key: value}).encode()
    try:
        document = parse_document(body, "")
    except errors.Refused:
        return
    assert isinstance(document, Manifest)


@given(st.sampled_from(["config", "rootfs", "history", "created", "os", "variant"]), JSON)
def test_any_config_value_is_taken_or_refused(key, value):
    body = json.dumps({**json.loads(IMAGE.config), key: value}).encode()
    try:
        config = parse_config(body)
    except errors.Refused:
        return
    run_config(config)
    history_of(config, [1])
    platform_of(config)


def test_too_many_layers():
    rows = MANIFEST["layers"] * 501
    with pytest.raises(errors.Refused):
        parse_document(json.dumps({**MANIFEST, "layers": rows}).encode(), "")


def test_as_many_layers_as_hashes():
    config = parse_config(build_image([b"1", b"2"]).config)
    with pytest.raises(errors.Refused):
        pair_layers(parse_document(IMAGE.manifest, ""), config)


def test_nulls_and_old_forms():
    run = {"Cmd": "old string", "Entrypoint": None, "Env": None, "Volumes": None, "Labels": None,
           "ExposedPorts": {"80/tcp": {}, "53/udp": {}}, "OnBuild": None, "Healthcheck": {},
    }  # fmt: skip
    config = run_config(parse_config(build_image([b"1"], run=run).config))
    assert config == ImageConfig(cmd=("old string",), exposed_ports=("53/udp", "80/tcp"))


def test_what_we_build_we_read():
    config = ImageConfig(
        entrypoint=("/e",), cmd=("a", "b"), env=("A=1",), working_dir="/w", user="u",
        exposed_ports=("80/tcp",), volumes=("/v",), labels={"k": "v"}, stop_signal="SIGQUIT",
    )  # fmt: skip
    platform = Platform(os="linux", architecture="arm", variant="v7")
    diff_id = "sha256:" + "0" * 64
    body = build_config(config, diff_id, platform=platform, created="2026", message="m")
    parsed = parse_config(body)
    assert run_config(parsed) == config
    assert platform_of(parsed) == platform
    assert [(row.comment, row.size_bytes) for row in history_of(parsed, [5])] == [("m", 5)]


def test_history_counts_only_real_layers():
    config = json.loads(build_image([b"1", b"2"]).config)
    config["history"] = [{"created_by": "1"}, {"created_by": "env", "empty_layer": True}, {}]
    rows = history_of(parse_config(json.dumps(config).encode()), [10, 20])
    assert [row.size_bytes for row in rows] == [10, 0, 20]


def test_a_health_check_is_read_and_written():
    run = {
        "Healthcheck": {"Test": ["CMD-SHELL", "true"], "Interval": 1_500_000_000, "Retries": 2},
        "Shell": ["/bin/ash", "-ec"],
    }
    config = run_config(parse_config(build_image([b"1"], run=run).config))
    assert config.healthcheck == HealthCheck(test=("CMD-SHELL", "true"), interval_s=1.5, retries=2)
    assert config.shell == ("/bin/ash", "-ec")
    platform = Platform(os="linux", architecture="amd64", variant="")
    body = build_config(
        config, "sha256:" + "0" * 64, platform=platform, created="2026", message="m"
    )
    assert json.loads(body)["config"]["Healthcheck"] == run["Healthcheck"]
    assert run_config(parse_config(body)) == config


@pytest.mark.parametrize("check", [{"Test": "true"}, {"Interval": 1 << 63}, {"Retries": 1.5}])
def test_a_health_check_that_docker_could_not_read_is_refused(check):
    with pytest.raises(errors.Refused):
        parse_config(build_image([b"1"], run={"Healthcheck": check}).config)
