"""Times as people and scripts read them. Pure."""

from datetime import UTC, datetime


def format_ns(time_ns: int) -> str:
    """RFC 3339 in UTC with nine digits, so that lines of one second keep their order."""
    seconds, rest = divmod(time_ns, 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"
