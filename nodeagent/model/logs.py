"""Where output of containers goes: what is configured for all, and what is stored of one."""

from typing import Literal

from msgspec import Struct

LogDriver = Literal["local", "json-file", "none", "syslog", "fluentd", "journald"]


class LogSettings(Struct, frozen=True, kw_only=True):
    """What holds for logs of containers that did not ask for something else."""

    driver: LogDriver = "local"
    options: dict[str, str] = {}
    max_bytes: int = 20 << 20  # of one file; 0: no limit
    max_files: int = 5
    compress: bool = True
    budget_bytes: int = 0  # of all logs of this host; 0: no limit


class LogRecord(Struct, frozen=True, kw_only=True):
    """Where output goes. None is the configured value of the day; 0 bytes is no limit."""

    driver: LogDriver = "local"
    options: dict[str, str] = {}  # as asked for
    max_bytes: int | None = None
    max_files: int | None = None  # the present one included
    compress: bool | None = None
