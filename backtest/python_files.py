"""Python files of a user's own: run once, and what they define."""

from __future__ import annotations

import importlib.util
import inspect
import sys
import zlib
from pathlib import Path
from types import ModuleType

from backtest.errors import SettingsError

__all__ = ["classes_of", "load_python_file", "needed_arguments"]


def load_python_file(path: str | Path) -> ModuleType:
    """Run a Python file and return it as a module.

    Its classes travel to worker processes with their code, as those of a notebook do: no worker could import them.

    Raises:
        SettingsError: there is no such file, or it cannot be run; names the error and its line.
    """
    file = Path(path)
    spec = importlib.util.spec_from_file_location(f"{file.stem}_{zlib.crc32(bytes(file.resolve())):08x}", file)
    if spec is None or spec.loader is None or not file.is_file():
        raise SettingsError(f"{file}: not a Python file")
    # Imported here: the commands import this module, and running a file is rare among what they do.
    import cloudpickle

    module = importlib.util.module_from_spec(spec)
    # Registered before it runs, as dataclasses look their module up by name.
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[spec.name]
        raise SettingsError(f"{file}: cannot be run: {type(error).__name__}: {error}{_line(error, file)}") from error
    cloudpickle.register_pickle_by_value(module)
    return module


def classes_of(module: ModuleType, base: type) -> list[type]:
    """Return the classes that a module defines itself and that can be made, in its order."""
    return [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, base)
        and value.__module__ == module.__name__
        and not inspect.isabstract(value)
    ]


def needed_arguments(cls: type) -> list[str]:
    """Return the arguments without which a class cannot be made."""
    return [
        name
        for name, parameter in inspect.signature(cls).parameters.items()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]


def _line(error: BaseException, file: Path) -> str:
    """Return the last line of the file that an error went through."""
    if isinstance(error, SyntaxError):
        return ""  # its message has the line
    lines = []
    at = error.__traceback__
    while at is not None:
        if at.tb_frame.f_code.co_filename == str(file):
            lines.append(at.tb_lineno)
        at = at.tb_next
    return f" (line {lines[-1]})" if lines else ""
