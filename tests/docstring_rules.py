"""What a public docstring must say, as rules that a machine can judge; `test_docstrings.py` applies them.

1. It is there.
2. Every parameter of a function, and every field of a class, is described by name under Args or Attributes; so are
   the parameters of a method, there or in the docstring of the method that it overrides.
3. A function says what it returns: its first line begins with "Return", "Yield" or, for a chart, "Draw"; or there is a
   section Returns. A property is what its name says.
4. What holds numbers in rows and columns (an array, a tensor, a table, a parameter that may be one) has its shape:
   `(T, N)`, or words that say what rows and columns are.
5. An error of this library that the function itself raises, or a private function or a check (`_x`, `check_x`) that
   it calls, is under Raises, or a class of errors above it is. The errors of a class are those of building one.
"""

from __future__ import annotations

import ast
import dataclasses
import enum
import functools
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import backtest.errors

__all__ = ["faults_of", "sections_of"]

SECTIONS = ("Args", "Attributes", "Returns", "Yields", "Raises")
HEADER = re.compile(rf"^({'|'.join(SECTIONS)}):$")
ENTRY = re.compile(r"^    (?! )([*\w][\w*, ]*): ?(.*)$")
ERRORS = {name: error for name, error in vars(backtest.errors).items() if inspect.isclass(error)}
HELD_IN_ARRAYS = re.compile(r"\b(ndarray|DataFrame|Series|Tensor|ArrayLike|Parameter|Returns)\b")
MOST_IN_PROSE = 2
"""A function of so few parameters may name them in its prose, in backticks, instead of under Args."""
SHAPE = re.compile(
    r"\(\w{1,2}( [|+-] 1)?,( ?(\w{1,2}|\.\.\.)( [|+-] 1)?,?)*\)"  # (N,), (T, N), (B | 1, N), (R, ...)
    r"|\b(by (asset|symbol|name|column|date|era|row|book|objective|strategy|number)s?|scalar|index(ed)?"
    r"|(a|one|each) (row|column|line|number|entry) (a|an|for|each|per|by)\b|rows? (a|an|are|of|for|per)\b"
    r"|columns (a|an|are|of|for|per|and)\b|shaped? (as|of|like)|same shape|the shape of)",
)


def sections_of(doc: str) -> dict[str, dict[str, str]]:
    """The sections of a docstring in Google's style: title -> name -> text; prose is the entry '' of ''."""
    title, name = "", ""
    found: dict[str, dict[str, str]] = {"": {"": ""}}
    for line in inspect.cleandoc(doc).splitlines():
        if header := HEADER.match(line):
            title, name = header[1], ""
            found[title] = {"": ""}
            continue
        if title and line and not line.startswith(" "):
            title, name = "", ""
        if title and (entry := ENTRY.match(line)):
            name, line = entry[1], entry[2]
            found[title][name] = ""
        found[title][name] += line.strip() + "\n"
    return {
        title: {one.strip().strip("*"): text for names, text in entries.items() for one in names.split(",")}
        for title, entries in found.items()
    }


def faults_of(thing: Any, name: str) -> Iterator[str]:
    """Say what the docstring of a function, or those of a class and its public members, lack."""
    if inspect.isclass(thing):
        yield from _faults_of_class(thing, name)
    elif inspect.isfunction(thing):
        yield from _faults_of_function(thing, name, docs=[thing.__doc__])


def _faults_of_class(cls: type, name: str) -> Iterator[str]:
    ours = [base for base in cls.__mro__ if _are_together(base, cls)]
    if not vars(cls).get("__doc__") or str(cls.__doc__).startswith(f"{cls.__name__}("):
        yield f"{name}: no docstring"
        return
    described: dict[str, str] = {}
    raises: set[str] = set()
    for base in reversed(ours):
        parts = sections_of(base.__doc__ or "")
        described |= {**parts.get("Args", {}), **parts.get("Attributes", {}), **_notes_below(base)}
        raises |= set(parts.get("Raises", {}))
    for field, annotation in _fields_of(cls).items():
        yield from _faults_of_value(f"{name}.{field}", described.get(field), annotation)
    for builder in ("__init__", "__post_init__"):
        written = next((vars(base)[builder] for base in ours if builder in vars(base)), None)
        if inspect.isfunction(written) and not written.__code__.co_filename.startswith("<"):
            yield from _unnamed_errors(written, name, raises)
    for attribute, member in vars(cls).items():
        if attribute.startswith("_") and attribute != "__call__":
            continue
        docs = [
            _plain(vars(base)[attribute]).__doc__
            for base in ours
            if attribute in vars(base) and _plain(vars(base)[attribute]) is not None
        ]
        function = _plain(member)
        if function is not None and function.__module__ == cls.__module__:
            yield from _faults_of_function(
                function, f"{name}.{attribute}", docs=docs, is_property=not inspect.isfunction(_unwrapped(member))
            )


def _faults_of_function(
    function: Callable[..., Any], name: str, *, docs: list[str | None], is_property: bool = False
) -> Iterator[str]:
    texts = [doc for doc in docs if doc]
    if not texts:
        yield f"{name}: no docstring"
        return
    parts = [sections_of(doc) for doc in texts]
    described = {key: text for part in reversed(parts) for key, text in part.get("Args", {}).items()}
    taken = [key for key in inspect.signature(function).parameters if key not in ("self", "cls") and key[0] != "_"]
    if len(taken) <= MOST_IN_PROSE:
        for text in (part[""][""] for part in reversed(parts)):
            described |= {key: text for key in taken if f"`{key}`" in text and key not in described}
    for key in taken:
        annotation = str(inspect.signature(function).parameters[key].annotation)
        yield from _faults_of_value(f"{name}({key})", described.get(key), annotation)
    annotation = str(inspect.signature(function).return_annotation)
    if annotation.split(" |")[0] not in ("None", "NoReturn", "Self", str(inspect.Signature.empty)):
        said = "".join(text for text in texts if is_property or re.match(r"(Return|Yield|Draw)", text.strip()))
        said += "".join(text for part in parts for key in ("Returns", "Yields") for text in part.get(key, {}).values())
        if not said and not _is_ours(annotation, function):
            yield f"{name}: does not say what it returns"
        elif HELD_IN_ARRAYS.search(annotation) and not any(SHAPE.search(doc) for doc in (said, texts[0])):
            yield f"{name}: no shape of what it returns"
    yield from _unnamed_errors(function, name, {key for part in parts for key in part.get("Raises", {})})


def _is_ours(annotation: str, function: Callable[..., Any]) -> bool:
    """Whether something is a class of this library, which says itself what it is."""
    found = vars(inspect.getmodule(function)).get(annotation.split("[")[0].split(" |")[0])
    return inspect.isclass(found) and found.__module__.startswith("backtest.")


def _faults_of_value(name: str, text: str | None, annotation: str) -> Iterator[str]:
    if not text or not text.strip():
        yield f"{name}: not described"
    elif HELD_IN_ARRAYS.search(annotation) and "Callable" not in annotation and not SHAPE.search(text):
        yield f"{name}: no shape"


def _unnamed_errors(function: Callable[..., Any], name: str, named: set[str]) -> Iterator[str]:
    missing = sorted(
        error for error in raised_by(function) if not named & {above.__name__ for above in ERRORS[error].__mro__}
    )
    if missing:
        yield f"{name}: raises {', '.join(missing)} and does not say so"


def raised_by(function: Callable[..., Any]) -> set[str]:
    """Errors of this library that a function raises, or private functions and checks that it calls."""
    waiting, seen, raised = [function], {function}, set()
    while waiting:
        one = waiting.pop()
        for node in _not_caught(_tree_of(one)):
            if isinstance(node, ast.Raise) and node.exc is not None:
                error = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
                raised |= {ast.unparse(error)} & ERRORS.keys()
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                called = one.__globals__.get(node.func.id)
                helps = re.match(r"_|check_", node.func.id) and inspect.isfunction(called)
                if helps and _are_together(called, function) and called not in seen:
                    seen.add(called)
                    waiting.append(called)
    return raised


def _are_together(one: Any, other: Any) -> bool:
    """Whether two things are of one project."""
    return one.__module__.split(".")[0] == other.__module__.split(".")[0]


def _not_caught(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node of a function whose errors leave it."""
    for child in ast.iter_child_nodes(tree):
        handled = {ast.unparse(handler.type or tree) for handler in getattr(tree, "handlers", [])}
        if handled & {"Exception", "BacktestError"} and child in tree.body:
            continue
        yield child
        yield from _not_caught(child)


@functools.cache
def _tree_of(function: Callable[..., Any]) -> ast.AST:
    return ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(function))))


def _unwrapped(member: Any) -> Any:
    return member.__func__ if isinstance(member, classmethod | staticmethod) else member


def _plain(member: Any) -> Callable[..., Any] | None:
    """The function behind a method or property; None for anything else."""
    member = _unwrapped(member)
    if isinstance(member, property):
        member = member.fget
    if isinstance(member, functools.cached_property):
        member = member.func
    return member if inspect.isfunction(member) else None


def _notes_below(cls: type) -> dict[str, str]:
    """Strings below the fields of a class."""
    try:
        body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0].body
    except OSError:
        return {}
    found = {}
    for field, note in pairwise(body):
        target = field.target if isinstance(field, ast.AnnAssign) else None
        target = field.targets[0] if isinstance(field, ast.Assign) else target
        if isinstance(target, ast.Name) and isinstance(note, ast.Expr) and isinstance(note.value, ast.Constant):
            found[target.id] = str(note.value.value)
    return found


def _fields_of(cls: type) -> dict[str, str]:
    """What an object of a class is made of, with its annotation."""
    if dataclasses.is_dataclass(cls):
        fields = {field.name: str(field.type) for field in dataclasses.fields(cls)}
    elif hasattr(cls, "model_fields"):
        fields = {key: str(field.annotation) for key, field in cls.model_fields.items()}
    elif hasattr(cls, "_fields"):
        fields = {key: str(cls.__annotations__[key]) for key in cls._fields}
    elif issubclass(cls, enum.Enum):
        fields = dict.fromkeys(cls.__members__, "")
    elif inspect.isfunction(cls.__init__) and not getattr(cls, "_is_protocol", False):
        fields = {key: str(it.annotation) for key, it in list(inspect.signature(cls.__init__).parameters.items())[1:]}
    else:
        fields = {}
    return {key: annotation for key, annotation in fields.items() if not key.startswith("_")}
