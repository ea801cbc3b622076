"""From a config node to the object it describes, with the constructor's signature as the only schema.

A node is a mapping with ``_target_`` (a class or function of this package) and arguments. By convention a
constructor's positional parameters are given by the program and its keyword-only parameters by the config, so

    class ResidualCNN(nn.Module):
        def __init__(self, num_classes: int, *, blocks: Annotated[int, Ge(1), Le(9)] = 3): ...

says all there is to know about ``model.blocks``: its type, range and default. `describe` checks a node and
completes its defaults; the `Description` it returns builds the object when its time has come.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import inspect
import json
import keyword
import re
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import annotated_types
from pydantic import BaseModel, ConfigDict, PydanticUserError, ValidationError, create_model
from pydantic import Field as PydanticField

from cifarlab.job.source import PACKAGE, Constructor, Unreadable, constructor

TARGET = "_target_"
ALLOWED = re.compile(r"\b[Aa]llowed: (.*?)(?= {2}\(\d+ of \d+ cells\)$|\. Did you mean [^ ]+\?|$)")
LONG = 60  # characters of a list that is not said twice
Class = type | Constructor


LONGEST_SHOWN = 200  # characters of a value in a message


class ConfigError(ValueError):
    """A configuration that cannot be run. `faults` holds one line for each thing wrong with it.

    The message has the lines, with a long list of what is allowed where it first stands.
    """

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(_lists_once(self.faults)))


def _lists_once(lines: Sequence[str]) -> Iterator[str]:
    """The lines, with the words "as above" for a long list that stands in an earlier one; what follows it stays."""
    seen: set[str] = set()
    for line in lines:
        match = ALLOWED.search(line)
        if match is None or len(match[1]) < LONG or match[1] not in seen:
            yield line
        else:
            yield f"{line[: match.start(1)]}as above{line[match.end(1) :]}"
        if match is not None:
            seen.add(match[1])


@dataclass(frozen=True)
class Description:
    """A checked node: what to call, and every keyword argument for it."""

    target: Callable[..., Any]
    arguments: Mapping[str, Any]

    def __call__(self, *given: Any) -> Any:
        """Build the object from what the program gives (positional) and what the config said (keywords)."""
        built = {name: value() if isinstance(value, Description) else value for name, value in self.arguments.items()}
        return self.target(*given, **built)

    def plain(self) -> dict[str, Any]:
        """The node as JSON-able data under its config keys, every default written out."""
        return {TARGET: f"{self.target.__module__}.{self.target.__qualname__}"} | {
            config_key(name): value.plain() if isinstance(value, Description) else _jsonable(value)
            for name, value in self.arguments.items()
        }

    def deviations(self, without: Sequence[str] = ()) -> dict[str, Any]:
        """What is called, by name and version, and the arguments that differ from its defaults: what a run's key is of.

        An argument that is new in the signature deviates in no old run. A class of ours goes by its bare name, so that
        it may move; one of the user's own by its import path. A change of a default, or of what an argument means, must
        be told by a higher ``version`` of the class or function, an integer attribute that is 1 where it is absent.

        Args:
            without: keys to leave out.
        """
        return {key: value for key, value in self._all_deviations.items() if key not in without}

    @functools.cached_property
    def _all_deviations(self) -> dict[str, Any]:
        ours = is_ours(self.target)
        name = self.target.__qualname__ if ours else f"{self.target.__module__}.{self.target.__qualname__}"
        version = getattr(self.target, "version", 1)
        found: dict[str, Any] = {TARGET: name} | ({"version": version} if version != 1 else {})
        defaults = {key: parameter.default for key, parameter in config_parameters(self.target).items()}
        for parameter, value in self.arguments.items():
            key = config_key(parameter)
            if isinstance(value, Description):
                found[key] = value.deviations()
            elif json.dumps(_jsonable(value)) != json.dumps(_jsonable(defaults[parameter]), default=str):
                found[key] = _jsonable(value)
        return found

    def scalars(self, prefix: str = "") -> Iterator[tuple[str, str | int | float | bool | None]]:
        """``(dotted key, value)`` of every argument; lists are written as one string."""
        for name, value in self.arguments.items():
            key = prefix + config_key(name)
            if isinstance(value, Description):
                yield from value.scalars(f"{key}.")
            elif isinstance(value, (list, tuple)):
                yield key, "+".join(str(item) for item in value)
            elif value is None or isinstance(value, (str, int, float, bool)):
                yield key, value


def describe(node: Any, *, key: str, room: str, allow: Sequence[str] = ()) -> Description:
    """Check a node against the signature of what it names.

    Args:
        node: mapping with ``_target_`` and arguments.
        key: where the node stands in the config (``model``), for messages.
        room: the module prefix that ``_target_`` must lie in (``cifarlab.models``).
        allow: further import prefixes the user has allowed on the command line.

    Raises:
        ConfigError: naming every fault of the node at once: key, value, what is allowed and the nearest right name.
    """
    if not isinstance(node, Mapping):
        raise ConfigError([f"{key}={node}: a mapping with {TARGET} is needed; it cannot be taken away"])
    if TARGET not in node:
        raise ConfigError([f"{key}: {TARGET} is missing; it names a class in {room}"])
    target = locate(str(node[TARGET]), key=f"{key}.{TARGET}", room=room, allow=allow)
    return describe_call(target, _without_target(node), key=key, room=room, allow=allow)


def describe_call(
    target: Callable[..., Any], values: Mapping[str, Any], *, key: str, room: str = PACKAGE, allow: Sequence[str] = ()
) -> Description:
    """Check keyword arguments for a known target. Raises `ConfigError`; see `describe`."""
    prefix = f"{key}." if key else ""
    parameters = config_parameters(target)
    names = {config_key(name): name for name in parameters}
    kinds = {name: parameter.annotation for name, parameter in parameters.items()}
    faults: list[str] = []
    given: dict[str, Any] = {}
    for name, value in values.items():
        if name in names:
            given[names[name]] = value
        elif _names_a_class(value) and (kind := kind_of_others(target)) is not None:
            kinds[name], given[name] = kind, value
        else:
            faults.append(unknown(prefix + name, value, [*names, *(name for name in kinds if name not in parameters)]))
    arguments: dict[str, Any] = {}
    judged: set[str] = set()  # their fault is told already
    for name, annotation in kinds.items():
        nested = _configurable_class(annotation, allow)
        if nested is not None and isinstance(given.get(name), Mapping):
            try:
                arguments[name] = _describe_nested(nested, given.pop(name), prefix + config_key(name), room, allow)
            except ConfigError as error:
                judged.add(name)
                faults += error.faults
        elif nested is not None and name in given and not (given[name] is None and _takes_null(annotation)):
            judged.add(name)
            value = _shown(given[name])
            faults.append(f"{prefix}{config_key(name)}={value}: a mapping of {nested.__name__}'s keys is needed")
    # A described object stands as null for the type check: its own signature has judged it already.
    described = [name for name in (*arguments, *judged) if name in parameters]
    plain, type_faults = _check_types(target, given | dict.fromkeys(described), prefix)
    if faults or type_faults:
        raise ConfigError(faults + type_faults)
    return Description(target, plain | {name: arguments[name] for name in sorted(arguments)})


@functools.cache
def config_parameters(target: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """The keyword-only parameters of a constructor or function, annotations resolved."""
    if isinstance(target, Constructor):
        return target.parameters
    function = target.__init__ if inspect.isclass(target) else target
    hints = get_type_hints(function, include_extras=True)
    parameters = {
        name: parameter.replace(annotation=hints.get(name, Any))
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }
    return types.MappingProxyType(parameters)


@functools.cache
def kind_of_others(target: Callable[..., Any]) -> Class | None:
    """The class of ours of which a constructor takes any number under names of the user's, as ``**own: Operation``."""
    if isinstance(target, Constructor):
        annotation = target.others
    else:
        function = target.__init__ if inspect.isclass(target) else target
        kinds = [each for each in inspect.signature(function).parameters.values() if each.kind is each.VAR_KEYWORD]
        annotation = get_type_hints(function).get(kinds[0].name) if kinds else None
    return _configurable_class(annotation, ())


def config_key(parameter: str) -> str:
    """``lambda_`` -> ``lambda``: a Python keyword as a key."""
    bare = parameter.removesuffix("_")
    return bare if keyword.iskeyword(bare) else parameter


def unknown(key: str, value: Any, known: Sequence[str]) -> str:
    """The message for a key nobody reads. `known` are the names that ``key``'s last part could have been."""
    prefix, dot, name = key.rpartition(".")
    near = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {prefix}{dot}{near[0]}?" if near else ""
    return f"{key}={value}: there is no key {name}.{hint} Allowed: {', '.join(known) or 'none'}"


def allowed(annotation: Any) -> str:
    """What a parameter accepts, in words: ``an integer from 1 to 9``, ``one of relu, gelu``, ``a number above 0``."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return allowed(arguments[0]) + _range([item for item in arguments[1:] if _is_bound(item)])
    if origin is Literal:
        return "one of " + ", ".join("null" if item is None else str(item) for item in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(allowed(item) for item in arguments)
    if origin in (list, tuple):
        length = f" of {len(arguments)}" if origin is tuple and Ellipsis not in arguments else ""
        return f"a list{length}, each {allowed(arguments[0] if arguments else Any)}"
    if origin is dict:
        return "a mapping"
    ours = _configurable_class(annotation, ())
    if ours is not None:
        keys = "" if _is_abstract(ours) else ", ".join(map(config_key, config_parameters(ours)))
        return f"a mapping of {keys}" if keys else "a mapping"
    words = {int: "an integer", float: "a number", str: "text", bool: "true or false", type(None): "null"}
    return words.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _is_bound(item: Any) -> bool:
    return isinstance(item, (annotated_types.Ge, annotated_types.Gt, annotated_types.Le, annotated_types.Lt))


def _range(bounds: Sequence[Any]) -> str:
    words = {"ge": "from", "gt": "above", "le": "to", "lt": "below"}
    return "".join(
        f" {word} {getattr(bound, side)}" for side, word in words.items() for bound in bounds if hasattr(bound, side)
    )


def _describe_nested(
    expected: Class, node: Mapping[str, Any], key: str, room: str, allow: Sequence[str]
) -> Description:
    if TARGET not in node:
        if _is_abstract(expected):
            raise ConfigError([f"{key}: {TARGET} is missing; it names a kind of {expected.__name__}"])
        return describe_call(expected, node, key=key, room=room, allow=allow)
    target = locate(str(node[TARGET]), key=f"{key}.{TARGET}", room=room, allow=allow)
    if not _is_kind(target, expected):
        raise ConfigError([f"{key}.{TARGET}={node[TARGET]}: a kind of {expected.__name__} is needed"])
    return describe_call(target, _without_target(node), key=key, room=room, allow=allow)


def _names_a_class(value: Any) -> bool:
    return isinstance(value, Mapping) and TARGET in value


def _without_target(node: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(name): value for name, value in node.items() if name != TARGET}


def _configurable_class(annotation: Any, allow: Sequence[str]) -> Class | None:
    """The class of ours that a parameter wants, seen through ``X | None`` and ``Annotated``."""
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, Constructor):
            return candidate
        if inspect.isclass(candidate) and _is_within(candidate.__module__, (PACKAGE, *allow)):
            return candidate
    return None


def _is_abstract(target: Any) -> bool:
    return target.is_abstract if isinstance(target, Constructor) else inspect.isabstract(target)


def _is_kind(target: Any, expected: Class) -> bool:
    """Whether a target is a class that may stand for the expected one."""
    if isinstance(target, Constructor) and isinstance(expected, Constructor):
        return target.is_class and expected.lineage[0] in target.lineage
    found, wanted = (each.load() if isinstance(each, Constructor) else each for each in (target, expected))
    return inspect.isclass(found) and issubclass(found, wanted)


def _takes_null(annotation: Any) -> bool:
    return type(None) in get_args(annotation)


def is_ours(target: Any) -> bool:
    """Whether a class or function is of this package, and not the user's own."""
    return _is_within(target.__module__, (PACKAGE,))


def _is_within(module: str, prefixes: Sequence[str]) -> bool:
    return any(module == prefix or module.startswith(f"{prefix}.") for prefix in prefixes)


def locate(path: str, *, key: str, room: str, allow: Sequence[str]) -> Callable[..., Any]:
    """What a node names: only the room's own public names, known by their source, and what the user allowed.

    Raises:
        ConfigError: it names something else, or nothing.
    """
    module, _, name = path.rpartition(".")
    if not _is_within(module, (room, *allow)) or name.startswith("_"):
        raise ConfigError(
            [f"{key}={path}: only classes of {room} can be named in a config, or below an import path given by allow="]
        )
    try:
        found: Any = constructor(module, name)
    except Unreadable:  # one of the user's own, or none
        found = _imported(path, key)
    # A module also holds what it imports (os, torch): only what was defined in the room counts.
    if not callable(found) or not _is_within(getattr(found, "__module__", ""), (room, *allow)):
        raise ConfigError([f"{key}={path}: only classes of {room} can be named in a config"])
    if _is_abstract(found):
        raise ConfigError([f"{key}={path}: one of its kinds is needed, {name} is abstract"])
    try:
        _schema(found)
    except (PydanticUserError, TypeError):
        raise ConfigError([f"{key}={path}: a config cannot give its arguments, they are no plain values"]) from None
    return found


def _imported(path: str, key: str) -> Any:
    module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError([f"{key}={path}: cannot be imported ({error})"]) from None


@functools.cache
def _schema(target: Callable[..., Any]) -> type[BaseModel]:
    """A pydantic model of the keyword-only parameters; strict, finite, closed."""
    fields: dict[str, Any] = {}
    for name, parameter in config_parameters(target).items():
        default = ... if parameter.default is inspect.Parameter.empty else parameter.default
        annotation = Any if _configurable_class(parameter.annotation, (_root(target),)) else parameter.annotation
        # Python parameters may bear names that pydantic keeps for itself; an alias is free of that.
        fields[f"field_{name}"] = (annotation, PydanticField(default, alias=name))
    settings = ConfigDict(extra="forbid", allow_inf_nan=False, protected_namespaces=())
    return create_model(getattr(target, "__name__", "arguments"), __config__=settings, **fields)


def _root(target: Callable[..., Any]) -> str:
    return target.__module__.partition(".")[0]


def _check_types(
    target: Callable[..., Any], values: Mapping[str, Any], prefix: str
) -> tuple[dict[str, Any], list[str]]:
    """The values with defaults filled in, or the faults of those that do not fit."""
    parameters = config_parameters(target)
    try:
        # Through JSON, since strict mode then takes a list for a tuple but still no text for a number.
        checked = _schema(target).model_validate_json(json.dumps(values), strict=True)
    except ValidationError as error:
        names = list(dict.fromkeys(str(fault["loc"][0]) for fault in error.errors()))
        return {}, [_fault(name, values, parameters[name], prefix) for name in names]
    return {name: getattr(checked, f"field_{name}") for name in parameters}, []


def _fault(name: str, given: Mapping[str, Any], parameter: inspect.Parameter, prefix: str) -> str:
    key = prefix + config_key(name)
    if name not in given:
        return f"{key}: a value is missing; allowed: {allowed(parameter.annotation)}"
    value = given[name]
    near = difflib.get_close_matches(str(value), [str(item) for item in _choices(parameter.annotation)], n=1)
    hint = f". Did you mean {near[0]}?" if near else ""
    return f"{key}={_shown(value)}: allowed: {allowed(parameter.annotation)}{hint}"


def _shown(value: Any) -> str:
    """A value as one would type it: text that would read as something else stands in quotes; what is long is cut."""
    if len(str(value)) > LONGEST_SHOWN:
        return f"{str(value)[:LONGEST_SHOWN]}..."
    if not isinstance(value, str):
        return json.dumps(value) if value is None or isinstance(value, bool) else str(value)
    try:
        json.loads(value)
    except json.JSONDecodeError:
        return value
    return f"'{value}'"


def _choices(annotation: Any) -> tuple[Any, ...]:
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    return tuple(choice for item in get_args(annotation) for choice in _choices(item))


def _jsonable(value: Any) -> Any:
    return [_jsonable(item) for item in value] if isinstance(value, (list, tuple)) else value
