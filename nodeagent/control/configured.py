"""From the configuration file to what the use cases read of it."""

from nodeagent.config import Config
from nodeagent.control.logoptions import parse_log
from nodeagent.control.parts import Settings
from nodeagent.control.system import VERSION
from nodeagent.model.logs import LogSettings


def build_settings(config: Config, open_files: tuple[int, int]) -> Settings:
    """The use cases' part of the configuration.

    Args:
        open_files: soft and hard limit of open files, for containers that name none.

    Raises:
        Invalid: options that the configured log driver does not have.
    """
    return Settings(
        ulimits={"nofile": open_files},
        root=config.root,
        run=config.run,
        agent_id=config.agent_id,
        version=VERSION,
        metrics_address=config.metrics.listen,
        pools=tuple((pool.base, pool.size) for pool in config.network.pools),
        publish_addresses=tuple(config.network.default_publish_address),
        dns_upstreams=tuple(config.network.dns_upstreams),
        logs=_log_settings(config),
        mtu_bytes=config.network.mtu_bytes,
        volume_retention_s=config.volume.retention_s,
    )


def _log_settings(config: Config) -> LogSettings:
    asked = config.container
    parse_log(asked.log_driver, asked.log_options)  # wrong ones stop the start
    return LogSettings(
        driver=asked.log_driver,
        options=asked.log_options,
        max_bytes=asked.log_max_bytes,
        max_files=asked.log_max_files,
        compress=asked.log_compress,
        budget_bytes=asked.log_budget_bytes,
    )
