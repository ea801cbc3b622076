"""What a constructor takes, read from its source: nothing need be imported to know a signature.

Importing torch and Lightning takes seconds, and a help page or the refusal of a typing error needs none of it. A
`Constructor` stands for a class or function of this package, is checked and shown like it, and imports it when it is
called. There is no cache that could go stale: the source is parsed in every process, in a few milliseconds a module.
"""

from __future__ import annotations

import ast
import builtins
import functools
import importlib
import inspect
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Union

PACKAGE = __name__.partition(".")[0]
ROOT = Path(__file__).resolve().parents[2]
# Modules whose objects annotations and defaults are made of; they are imported to have them.
LIGHT = ("typing", "annotated_types", "collections", "pathlib")
Definition = ast.ClassDef | ast.FunctionDef


class Unreadable(Exception):
    """The source does not say: the module must be imported to know."""


class Constructor:
    """A class or function of this package, known by its source.

    It bears the names and the docstring of what it stands for; an annotation may hold it, as in ``Crop | None``.

    Attributes:
        parameters: the keyword-only ones, annotations resolved.
        others: the annotation of ``**others``; None where it takes none.
        version: see `Description.deviations`.
        is_abstract: a class with abstract methods left.
        lineage: paths of the classes of this package that it is or inherits from.
    """

    def __init__(self, module: _Module, node: Definition) -> None:
        self._lines = _lineage(module, node)
        self.__module__ = module.name
        self.__name__ = self.__qualname__ = node.name
        self.__doc__ = ast.get_docstring(node)
        self.is_class = isinstance(node, ast.ClassDef)
        self.lineage = tuple(f"{owner.name}.{definition.name}" for owner, definition in self._lines)
        self.version = self._constant("version", 1)
        self.is_abstract = self.is_class and bool(_abstract(self._lines))

    @functools.cached_property
    def parameters(self) -> Mapping[str, inspect.Parameter]:
        return types.MappingProxyType({parameter.name: parameter for parameter in _parameters(self._lines)})

    @functools.cached_property
    def others(self) -> Any:
        for module, node in self._lines:
            if (function := _constructing(node)) is not None:
                others = function.args.kwarg
                return module.evaluate(others.annotation) if others and others.annotation else None
        return None

    def load(self) -> Any:
        """The class or function itself."""
        return getattr(importlib.import_module(self.__module__), self.__name__)

    def __call__(self, *given: Any, **named: Any) -> Any:
        return self.load()(*given, **named)

    def __or__(self, other: Any) -> Any:
        return Union[self, other]  # noqa: UP007 - this is what makes X | Y work

    def __reduce__(self) -> tuple[Any, ...]:
        return constructor, (self.__module__, self.__name__)

    def _constant(self, name: str, otherwise: Any) -> Any:
        """An attribute of the class body, or one that the module sets on a function."""
        for owner, definition in self._lines:
            body = definition.body if isinstance(definition, ast.ClassDef) else owner.tree.body
            wanted = name if isinstance(definition, ast.ClassDef) else f"{definition.name}.{name}"
            for statement in body:
                target, value = _assigned(statement)
                if target == wanted and value is not None:
                    return owner.evaluate(value)
        return otherwise


def constructor(module: str, name: str) -> Constructor:
    """The class or function that a module of this package defines, or imports from another one of it, under a name.

    Raises:
        Unreadable: there is none, or its source does not tell what it takes.
    """
    found = _module(module).find(name)
    if not isinstance(found, Constructor):
        raise Unreadable(f"{module}.{name} is no class or function")
    _ = found.parameters
    return found


def constructors(module: str) -> dict[str, Constructor]:
    """All classes and functions that a module offers by name, those included that it imports from below itself."""
    found: dict[str, Constructor] = {}
    for name in _module(module).names:
        try:
            option = constructor(module, name)
        except Unreadable:
            continue
        if f"{option.__module__}.".startswith(f"{module}."):
            found[name] = option
    return found


class _Module:
    """A module of this package by its syntax tree."""

    def __init__(self, name: str) -> None:
        path = ROOT.joinpath(*name.split("."))
        file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        try:
            self.tree = ast.parse(file.read_bytes())
        except (OSError, SyntaxError) as error:
            raise Unreadable(f"{name}: {error}") from None
        self.name = name
        self._found: dict[str, Any] = {}
        self._statements = dict(self._named())
        self.names = tuple(self._statements)

    def _named(self) -> Iterator[tuple[str, tuple[ast.stmt, str]]]:
        """Name -> the statement that gives it its meaning, and its name in there; the last one counts."""
        for statement in self.tree.body:
            target, _ = _assigned(statement)
            if isinstance(statement, (ast.Import, ast.ImportFrom)):
                for alias in statement.names:
                    yield alias.asname or alias.name, (statement, alias.name)
            elif isinstance(statement, (ast.ClassDef, ast.FunctionDef)):
                yield statement.name, (statement, statement.name)
            elif target:
                yield target, (statement, target)

    def find(self, name: str) -> Any:
        """What a name of the module means."""
        if name not in self._found:
            self._found[name] = self._find(name)
        return self._found[name]

    def _find(self, name: str) -> Any:
        if name not in self._statements:
            if hasattr(builtins, name):
                return getattr(builtins, name)
            raise Unreadable(f"{self.name}.{name}")
        statement, original = self._statements[name]
        if isinstance(statement, ast.ImportFrom):
            return _imported(str(statement.module), original)
        if isinstance(statement, (ast.ClassDef, ast.FunctionDef)):
            return Constructor(self, statement)
        _, value = _assigned(statement)
        if value is None:
            raise Unreadable(f"{self.name}.{name}")
        return self.evaluate(value)

    def evaluate(self, expression: ast.expr) -> Any:
        """An annotation, default or constant; of a text the expression in it, as annotations have it."""
        names = {node.id for node in ast.walk(expression) if isinstance(node, ast.Name)}
        meanings = {name: self.find(name) for name in names}
        try:
            return eval(compile(ast.Expression(expression), self.name, "eval"), {"__builtins__": {}}, meanings)
        except Exception as error:
            raise Unreadable(f"{self.name}: {ast.unparse(expression)}: {error}") from None


@functools.cache
def _module(name: str) -> _Module:
    if name.partition(".")[0] != PACKAGE:
        raise Unreadable(name)
    return _Module(name)


def _imported(module: str, name: str) -> Any:
    if module.partition(".")[0] in LIGHT:
        return getattr(importlib.import_module(module), name)
    return _module(module).find(name)


def _assigned(statement: ast.stmt) -> tuple[str, ast.expr | None]:
    """``name = value`` or ``name: type = value`` taken apart; no name for any other statement."""
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        return ast.unparse(statement.targets[0]), statement.value
    if isinstance(statement, ast.AnnAssign):
        return ast.unparse(statement.target), statement.value
    return "", None


def _lineage(module: _Module, node: Definition) -> list[tuple[_Module, Definition]]:
    """A class and those of this package that it inherits from, nearest first; a function alone."""
    lines = [(module, node)]
    for base in node.bases if isinstance(node, ast.ClassDef) else ():
        try:
            parent = module.evaluate(base)
        except Unreadable:  # of another package: none of ours takes its keywords from there
            continue
        if isinstance(parent, Constructor):
            lines += parent._lines
    return lines


def _parameters(lines: list[tuple[_Module, Definition]]) -> Iterator[inspect.Parameter]:
    for module, node in lines:
        if isinstance(node, ast.ClassDef) and any("dataclass" in ast.unparse(each) for each in node.decorator_list):
            return _fields(module, node)
        if (function := _constructing(node)) is not None:
            return _keywords(module, function)
    return iter(())


def _constructing(node: Definition) -> ast.FunctionDef | None:
    """A function itself, or the ``__init__`` that a class has of its own."""
    if isinstance(node, ast.FunctionDef):
        return node
    methods = (each for each in node.body if isinstance(each, ast.FunctionDef) and each.name == "__init__")
    return next(methods, None)


def _keywords(module: _Module, node: ast.FunctionDef) -> Iterator[inspect.Parameter]:
    for argument, default in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True):
        yield _parameter(module, argument.arg, argument.annotation, default)


def _fields(module: _Module, node: ast.ClassDef) -> Iterator[inspect.Parameter]:
    if not any("kw_only=True" in ast.unparse(decorator) for decorator in node.decorator_list):
        return
    for statement in node.body:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            yield _parameter(module, statement.target.id, statement.annotation, statement.value)


def _parameter(module: _Module, name: str, annotation: ast.expr | None, default: ast.expr | None) -> inspect.Parameter:
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if default is None else module.evaluate(default),
        annotation=Any if annotation is None else module.evaluate(annotation),
    )


def _abstract(lines: list[tuple[_Module, Definition]]) -> set[str]:
    """Abstract methods that no nearer class defines."""
    defined: set[str] = set()
    abstract: set[str] = set()
    for _, node in lines:
        methods = [method for method in node.body if isinstance(method, ast.FunctionDef)]
        for method in methods:
            is_abstract = any("abstractmethod" in ast.unparse(decorator) for decorator in method.decorator_list)
            if is_abstract and method.name not in defined:
                abstract.add(method.name)
        # A constant of a subclass stands in for an abstract property.
        defined |= {method.name for method in methods} | {_assigned(statement)[0] for statement in node.body}
    return abstract
