"""What a package offers under a name is documented, not the module of that name it comes from.

`backtest.analysis.compare` is a function, imported from a module that is called like it. The tool that reads the
sources takes the module.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from griffe import Alias, Extension


class FunctionsBeforeModules(Extension):
    """Puts an alias in the place of each module that a package hides behind what it imports from it."""

    def on_package(self, *, pkg: Any, **_: Any) -> None:
        """Look through a package and the packages in it, once all is read."""
        packages = [pkg, *_packages_in(pkg)]
        hidden = []
        for package in packages:
            for name, member in list(package.members.items()):
                is_module = not member.is_alias and member.is_module
                if is_module and name in (package.exports or []) and name in member.members:
                    hidden.append(member)
                    package.members[name] = Alias(name, member.members[name], parent=package)
        for package in packages:
            for member in package.members.values():
                # Names that other packages import from there were followed before.
                if member.is_alias and member.resolved and any(member.target is module for module in hidden):
                    member.resolve_target()


def _packages_in(package: Any) -> Iterator[Any]:
    for member in package.members.values():
        if not member.is_alias and member.is_module:
            yield member
            yield from _packages_in(member)
