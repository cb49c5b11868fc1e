"""``--log-driver`` and ``--log-opt``: Docker's words for where output goes. Pure."""

import re
from collections.abc import Iterator, Mapping
from typing import Final

from nodeagent.control.logtargets import TARGET_KEYS, parse_switch, parse_target, wrong
from nodeagent.errors import Invalid
from nodeagent.model.container import ContainerRecord
from nodeagent.model.containerrequest import ContainerCreate
from nodeagent.model.logs import LogDriver, LogRecord, LogSettings
from runtime.contract.logs import Cursor

SIZE: Final = re.compile(r"(\d+)\s?([kmg]?)i?b?", re.IGNORECASE)
POWERS: Final = {"": 0, "k": 1, "m": 2, "g": 3}
SIZE_MIN: Final = 4 << 10  # below, there would be more files than lines
FILES_MAX: Final = 1000
FILE_KEYS: Final = frozenset({"max-size", "max-file", "compress"})
# which labels and variables of the container go with a line; tag is what it is called
SHOWN_KEYS: Final = frozenset({"labels", "labels-regex", "env", "env-regex", "tag"})
# Docker's, for drivers that may hold up the program; none of ours can
IDLE_KEYS: Final = frozenset({"mode", "max-buffer-size"})
DRIVER_KEYS: Final[Mapping[LogDriver, frozenset[str]]] = {
    "local": FILE_KEYS | SHOWN_KEYS | IDLE_KEYS,
    "json-file": FILE_KEYS | SHOWN_KEYS | IDLE_KEYS,
    "none": frozenset(),
    **{driver: FILE_KEYS | SHOWN_KEYS | IDLE_KEYS | keys for driver, keys in TARGET_KEYS.items()},
}
CURSOR: Final = re.compile(r"(\d{1,9}):(\d{1,15})", re.ASCII)
TEMPLATE: Final = re.compile(r"\{\{\s*\.(\w+)\s*\}\}")
TAG: Final = "{{.ID}}"


def resolve_log(request: ContainerCreate, defaults: LogSettings) -> LogRecord:
    """What a container gets: its own driver and options, or the configured ones.

    Raises:
        Invalid: names the option and says what it may be.
    """
    if request.log_driver is None:
        driver, options = defaults.driver, {**defaults.options, **request.log_options}
    else:
        driver, options = request.log_driver, dict(request.log_options)
    return parse_log(driver, options)


def parse_log(driver: LogDriver, options: Mapping[str, str]) -> LogRecord:
    """Check a driver's options (Invalid names the option)."""
    known = DRIVER_KEYS[driver]
    for key, value in options.items():
        if key not in known:
            have = ", ".join(sorted(known)) or "none at all"
            raise wrong(key, value, f"no option of the log driver {driver}; it has {have}")
    _check_shown(options)
    parse_target(driver, options)
    return LogRecord(
        driver=driver,
        options=dict(options),
        max_bytes=_parse_size(options),
        max_files=_parse_files(options),
        compress=parse_switch(options, "compress"),
    )


def _parse_size(options: Mapping[str, str]) -> int | None:
    text = options.get("max-size")
    if text is None:
        return None
    if text == "-1":
        return 0
    match = SIZE.fullmatch(text)
    size = int(match[1]) * 1024 ** POWERS[match[2].lower()] if match else 0
    if size < SIZE_MIN:
        raise wrong("max-size", text, "not a size of 4k or more, like 10m; -1 is no limit")
    return size


def _parse_files(options: Mapping[str, str]) -> int | None:
    text = options.get("max-file")
    if text is None:
        return None
    count = int(text) if text.isascii() and text.isdigit() else 0
    if not 1 <= count <= FILES_MAX:
        raise wrong("max-file", text, f"not a number of files from 1 to {FILES_MAX}")
    return count


def _check_shown(options: Mapping[str, str]) -> None:
    for key in ("labels-regex", "env-regex"):
        try:
            re.compile(options.get(key, ""))
        except re.error as exc:
            raise wrong(key, options[key], f"not a regular expression: {exc}") from exc
    for word in TEMPLATE.findall(options.get("tag", "")):
        if word not in TAG_WORDS:
            have = ", ".join(f"{{{{.{each}}}}}" for each in TAG_WORDS)
            raise wrong("tag", options["tag"], f"knows no .{word}; there are {have}")
    if "{{" in TEMPLATE.sub("", options.get("tag", "")):
        raise wrong("tag", options["tag"], "takes words like {{.Name}} only")
    if options.get("mode", "non-blocking") not in {"blocking", "non-blocking"}:
        raise wrong("mode", options["mode"], "neither blocking nor non-blocking")


def parse_cursor(text: str) -> Cursor:
    """Read ``7:4096``, as a log item carries it (Invalid)."""
    match = CURSOR.fullmatch(text)
    if match is None:
        raise Invalid("not a cursor: give one that a log item carried", field="after", value=text)
    return Cursor(generation=int(match[1]), offset=int(match[2]))


# --- what goes with a line ----------------------------------------------------------------------

TAG_WORDS: Final = ("ID", "FullID", "Name", "ImageID", "ImageFullID", "ImageName", "DaemonName")


def build_tag(record: ContainerRecord) -> str:
    """The option ``tag`` filled in; without one the short id."""
    image = record.image_id.removeprefix("sha256:")
    words = dict(
        zip(
            TAG_WORDS,
            (record.id[:12], record.id, record.name, image[:12], image, record.image_name,
             "nodeagent"),
            strict=True,
        )
    )  # fmt: skip
    return TEMPLATE.sub(lambda found: words[found[1]], record.log.options.get("tag", TAG))


def build_attributes(record: ContainerRecord) -> dict[str, str]:
    """Labels and variables that the options want beside each line, and the tag if one is asked."""
    options = record.log.options
    env = dict(each.partition("=")[::2] for each in record.env)
    found = dict(_chosen(record.labels, options, "labels")) | dict(_chosen(env, options, "env"))
    return found | ({"tag": build_tag(record)} if "tag" in options else {})


def _chosen(
    values: Mapping[str, str], options: Mapping[str, str], key: str
) -> Iterator[tuple[str, str]]:
    names = set(options.get(key, "").split(","))
    pattern = options.get(f"{key}-regex")
    for name, value in values.items():
        if name in names or (pattern and re.search(pattern, name)):
            yield name, value
