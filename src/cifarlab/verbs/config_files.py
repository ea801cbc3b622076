"""How Hydra reads the files of the config tree: with our words for what is wrong with one."""

from __future__ import annotations

from pathlib import Path

from hydra._internal.core_plugins import file_config_source
from hydra._internal.sources_registry import SourcesRegistry
from hydra.plugins.config_source import ConfigLoadError, ConfigResult, ConfigSource

from cifarlab.job.yaml_file import parse_yaml, read_text

HEADER = 512  # characters that may hold ``# @package``


class FileConfigSource(file_config_source.FileConfigSource):
    """Hydra's own, and under its name, so that the registry takes it for that one."""

    def load_config(self, config_path: str) -> ConfigResult:
        path = Path(self.path, self._normalize_file_name(config_path)).resolve()
        if not path.exists():
            raise ConfigLoadError(f"Config not found : {path}")
        text = read_text(path)
        return ConfigResult(
            config=parse_yaml(text, path),
            path=f"{self.scheme()}://{self.path}",
            provider=self.provider,
            header=ConfigSource._get_header_dict(text[:HEADER]),
        )


def read_config_files() -> None:
    """Let Hydra read all files of this process so."""
    SourcesRegistry.instance().types[FileConfigSource.scheme()] = FileConfigSource
