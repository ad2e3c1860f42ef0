"""Settings in files: TOML that a user writes, and the config.json that a run leaves."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backtest.configuration.presets import merged, settings_with_presets
from backtest.configuration.settings import RunSettings, parse_settings
from backtest.errors import SettingsError

__all__ = ["Recorded", "hashes_of_files", "read_settings"]


SOURCES = {"prices", "dataset", "market"}
"""Settings of which one says where data come from."""


@dataclass(frozen=True)
class Recorded:
    """Settings of a run, and what they were recorded with.

    Attributes:
        settings: of the run.
        data_hash: SHA-256 of the data of a recorded run; None for settings that a user wrote.
        files: SHA-256 of the user's own Python files in a recorded run, by path as in the settings.
    """

    settings: RunSettings
    data_hash: str | None = None
    files: Mapping[str, str] = field(default_factory=dict)

    def check_data(self, data_hash: str) -> None:
        """Refuse data that are not those of the recorded run.

        Args:
            data_hash: of the data at hand, SHA-256.

        Raises:
            SettingsError: they are others.
        """
        if self.data_hash not in (None, data_hash):
            raise SettingsError(
                f"the data are not those of the recorded run: their hash is {data_hash[:12]}, "
                f"the run's {str(self.data_hash)[:12]}. Bring the data of that time back, or start a new run"
            )

    def check_files(self) -> None:
        """Refuse a file of the user's own that is not what it was in the recorded run.

        Raises:
            SettingsError: one was changed, or cannot be read; names it.
        """
        now = hashes_of_files(self.settings)
        changed = [name for name, recorded in self.files.items() if now.get(name) != recorded]
        if changed:
            raise SettingsError(
                f"{', '.join(changed)}: changed since the recorded run: bring the file of that time back, or start a "
                "new run"
            )


def read_settings(path: str | Path, *, options: Mapping[str, Any] | None = None, quick: bool = False) -> Recorded:
    """Read the settings of a run.

    Args:
        path: a TOML file with the keys of `RunSettings`, tables for `costs`, `training` and the like; paths in it start
            from its folder. Or the config.json of a run, or the run's folder.
        options: settings that go before those of a TOML file.
        quick: take the presets of a first look for what a TOML file leaves out.

    Raises:
        SettingsError: the file cannot be read, or a key is unknown or its value not allowed; the message names the file
            and the key. A recorded run takes no options.
    """
    file = Path(path) / "config.json" if Path(path).is_dir() else Path(path)
    if file.suffix != ".toml" and (options or quick):
        others = ", ".join([*(options or {}), *(["quick"] if quick else [])])
        raise SettingsError(f"{file}: a recorded run is repeated as it was and takes no other settings, got {others}")
    if not file.exists():
        raise SettingsError(
            f"{file}: there is no such file: give a TOML file of settings, a run's folder or config.json"
        )
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise SettingsError(f"{file}: cannot be read: {error}") from error
    if file.suffix != ".toml":
        return _recorded(file, text)
    try:
        document = _from_folder(tomllib.loads(text), file.parent)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{file}: not TOML: {error}") from error
    given = dict(options or {})
    if given.keys() & SOURCES:
        document = {key: value for key, value in document.items() if key not in SOURCES}
    try:
        return Recorded(settings_with_presets(merged(document, given), quick=quick))
    except SettingsError as error:
        raise SettingsError(f"{file}: {error}") from error


def hashes_of_files(settings: RunSettings) -> dict[str, str]:
    """Return the SHA-256 of the user's own Python files, by path as in the settings.

    Raises:
        SettingsError: a file cannot be read.
    """
    hashes = {}
    for name in (*settings.strategies, *settings.costs.files):
        try:
            hashes[name] = hashlib.sha256(Path(name).read_bytes()).hexdigest()
        except OSError as error:
            raise SettingsError(f"{name}: not a Python file: {error.strerror}") from error
    return hashes


def _recorded(file: Path, text: str) -> Recorded:
    try:
        document = json.loads(text)
        return Recorded(parse_settings(document["settings"]), document["data_hash"], document.get("files", {}))
    except (ValueError, KeyError, TypeError) as error:
        raise SettingsError(f"{file}: not the config.json of a run, and TOML files end in .toml: {error}") from error


def _from_folder(document: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return a document whose paths start from a folder; what is no path is left for parsing to refuse."""

    def placed(value: Any) -> Any:
        if isinstance(value, list):
            return [placed(one) for one in value]
        return str(folder / value) if isinstance(value, str) else value

    found = {key: placed(value) if key in ("prices", "strategies") else value for key, value in document.items()}
    costs = found.get("costs")
    if isinstance(costs, dict) and "files" in costs:
        found["costs"] = {**costs, "files": placed(costs["files"])}
    return found
