"""Recipes: what a run was asked to do, as TOML text and frozen dataclasses.

One frozen dataclass per stage. A default, its range and its help are written there with `setting` and nowhere else;
`check` in `__post_init__` holds the range; the command line reads all three back with `describe`. No stage is
known here.

    @dataclass(frozen=True, kw_only=True)
    class TuneRecipe:
        steps: int = setting(200, low=0, help="optimiser steps after the ranges are set")

        def __post_init__(self) -> None:
            check(self)

    recipe = load_recipe(Path("tune.toml"), TuneRecipe, variables={"DATA": "/data"})
    recipe = override(recipe, {"steps": 50})      # defaults < file < flags

tomllib and json are imported where text is read or written: the device side takes options from here and reads no text.
"""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from edge_deeplab.errors import RecipeError, UsageError, nearest

T = TypeVar("T")

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_META = "edge_deeplab.setting"


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is known of one key of a recipe.

    Attributes:
        key: dotted, as in the file: "optimizer.learning_rate".
        type: the resolved type hint.
        default: the default; `dataclasses.MISSING` when the key must be given.
        low, high: inclusive bounds of a number, or of every number of a tuple; None is unbounded.
        help: one line, with the unit.
    """

    key: str
    type: Any
    default: Any = dataclasses.MISSING
    low: float | None = None
    high: float | None = None
    help: str = ""

    @property
    def choices(self) -> tuple[Any, ...] | None:
        """The allowed values of a Literal, or None."""
        return typing.get_args(self.type) if typing.get_origin(self.type) is Literal else None

    @property
    def range_text(self) -> str:
        """The bounds in words: "1..8", "at least 1", "at most 8", or "" when there are none."""
        if self.low is not None and self.high is not None:
            return f"{self.low}..{self.high}"
        if self.low is not None:
            return f"at least {self.low}"
        return f"at most {self.high}" if self.high is not None else ""


def setting(
    default: Any = dataclasses.MISSING, *, low: float | None = None, high: float | None = None, help: str = ""
) -> Any:
    """A dataclass field with a range and a help line. Without a default the key must be given.

    A dataclass default (frozen, so safe to share) nests a table.
    """
    return dataclasses.field(default=default, metadata={_META: {"low": low, "high": high, "help": help}})


def check(recipe: Any) -> None:
    """Holds every field of a recipe against its declared range and, for a Literal, its choices.

    Call it from `__post_init__`. Raises RecipeError naming the field.
    """
    for item in _settings(type(recipe)).values():
        value = getattr(recipe, item.key)
        if value is None:
            continue
        if item.choices is not None and value not in item.choices:
            raise RecipeError(
                f"{item.key}: unknown value", came=repr(value), allowed=nearest(str(value), map(str, item.choices))
            )
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, bool) or not isinstance(number, int | float):
                continue
            above = item.low is None or number >= item.low
            below = item.high is None or number <= item.high
            if not (above and below):  # written so that NaN, which compares false, is refused
                raise RecipeError(f"{item.key}: out of range", came=number, allowed=item.range_text)


def describe(cls: type, key: str) -> Setting:
    """The setting a dotted key names, e.g. describe(TrainRecipe, "optimizer.learning_rate").

    Raises: RecipeError for an unknown key.
    """
    head, _, rest = key.partition(".")
    known = _settings(cls)
    if head not in known:
        raise RecipeError(f"unknown recipe key {head!r}", allowed=nearest(head, known))
    found = known[head]
    if not rest:
        return found
    inner = _unwrap_optional(found.type)
    if not dataclasses.is_dataclass(inner):
        raise RecipeError(f"recipe key {head!r} is no table", came=repr(key))
    return dataclasses.replace(describe(typing.cast(type, inner), rest), key=key)


def load_recipe(path: Path, cls: type[T], *, variables: Mapping[str, str | Path] | None = None) -> T:
    """Reads a TOML file into the dataclass `cls`, nested tables into nested dataclasses.

    Args:
        path: the recipe file.
        cls: a frozen dataclass whose fields are str, int, float, bool, Path, Literal, X | None, tuple, dict[str, X],
            or such dataclasses.
        variables: values of `${NAME}` inside strings, e.g. {"DATA": "/data"}.

    Raises: RecipeError naming the file and the key: file missing or not TOML, unknown or missing key, wrong type,
        out of range, a variable without a value.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise RecipeError(f"{path}: no such recipe file", next_step="check the path") from error
    except UnicodeDecodeError as error:
        raise RecipeError(
            f"{path}: not a text file", came=f"byte {error.start} is not UTF-8", allowed="TOML"
        ) from error
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read", came=error.strerror or type(error).__name__) from error
    return parse_recipe(text, cls, source=str(path), variables=variables)


def parse_recipe(
    text: str, cls: type[T], *, source: str = "recipe", variables: Mapping[str, str | Path] | None = None
) -> T:
    """Parses TOML text as load_recipe does; `source` is what messages call it."""
    import tomllib

    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{source}: not TOML", came=str(error)) from error
    return _Reader(source, variables or {}).table(table, cls, "")


def override(recipe: T, changes: Mapping[str, Any], *, source: str = "override") -> T:
    """A copy of the recipe with dotted keys replaced, checked like a file's.

    Args:
        recipe: an instance of a recipe dataclass.
        changes: {"optimizer.learning_rate": 1e-3}; None is a flag that was not given and changes nothing.
        source: what messages call the place the changes came from.

    Raises: RecipeError as load_recipe.
    """
    given = {key: value for key, value in changes.items() if value is not None}
    return _Reader(source, {}).replace(recipe, given, "") if given else recipe


def parse_assignments(texts: Iterable[str]) -> dict[str, Any]:
    """Turns `key=value` texts of a command line into changes for `override`.

    The value is read as TOML, and as a plain string where that fails: `steps=10`, `rates=[6, 12]`, `name=wide`.
    Raises: UsageError for a text without "=".
    """
    import tomllib

    changes: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise UsageError(
                f"{text!r} sets nothing", allowed="key=value", next_step="e.g. optimizer.learning_rate=1e-3"
            )
        try:
            changes[key.strip()] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            changes[key.strip()] = value.strip()
    return changes


def dump_recipe(recipe: Any) -> str:
    """The recipe as TOML text, every default written out; parse_recipe of it gives an equal recipe.

    A None is left out, which reads back as None because only keys whose default is None may be None; any other None
    raises RecipeError.
    """
    lines: list[str] = []
    _dump_table(recipe, "", lines)
    return "\n".join(lines).strip() + "\n"


def _settings(cls: type) -> dict[str, Setting]:
    hints = typing.get_type_hints(cls)
    found: dict[str, Setting] = {}
    for item in dataclasses.fields(cls):
        if not item.init:
            continue
        default = item.default_factory() if item.default_factory is not dataclasses.MISSING else item.default
        found[item.name] = Setting(
            key=item.name, type=hints[item.name], default=default, **item.metadata.get(_META, {})
        )
    return found


def _unwrap_optional(hint: Any) -> Any:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        inner = [part for part in typing.get_args(hint) if part is not type(None)]
        if len(inner) == 1:
            return inner[0]
    return hint


class _Reader:
    """Brings TOML values to the types of a dataclass, naming source and key in every error."""

    def __init__(self, source: str, variables: Mapping[str, str | Path]) -> None:
        self.source = source
        self.variables = variables

    def table(self, table: Mapping[str, Any], cls: type[T], where: str) -> T:
        known = _settings(cls)
        self._refuse_unknown(table, known, where)
        missing = [name for name, item in known.items() if item.default is dataclasses.MISSING and name not in table]
        if missing:
            raise RecipeError(f"{self.source}: missing key", came=f"no {where}{missing[0]}", next_step="add it")
        values = {name: self.value(raw, known[name].type, f"{where}{name}") for name, raw in table.items()}
        return self._make(where, lambda: cls(**values))

    def replace(self, recipe: T, changes: Mapping[str, Any], where: str) -> T:
        known = _settings(type(recipe))
        direct: dict[str, Any] = {}
        nested: dict[str, dict[str, Any]] = {}
        for key, value in changes.items():
            head, _, rest = key.partition(".")
            if rest:
                nested.setdefault(head, {})[rest] = value
            else:
                direct[head] = value
        self._refuse_unknown({**direct, **nested}, known, where)
        values = {name: self.value(raw, known[name].type, f"{where}{name}") for name, raw in direct.items()}
        for name, inner in nested.items():
            hint = _unwrap_optional(known[name].type)
            current = values.get(name, getattr(recipe, name))
            if dataclasses.is_dataclass(current):
                values[name] = self.replace(current, inner, f"{where}{name}.")
            elif current is None and dataclasses.is_dataclass(hint):
                values[name] = self.table(inner, typing.cast(type, hint), f"{where}{name}.")
            else:
                raise RecipeError(
                    f"{self.source}: {where}{name} is no table", came=f"{where}{name}.{next(iter(inner))}"
                )
        return self._make(where, lambda: dataclasses.replace(typing.cast(Any, recipe), **values))

    def value(self, raw: Any, hint: Any, where: str) -> Any:
        hint = _unwrap_optional(hint)
        origin, arguments = typing.get_origin(hint), typing.get_args(hint)
        if isinstance(raw, str):
            raw = self._substitute(raw, where)
        if dataclasses.is_dataclass(hint):
            if isinstance(raw, typing.cast(type, hint)):
                return raw
            self._expect(raw, Mapping, where, "a table")
            return self.table(raw, typing.cast(type, hint), f"{where}.")
        if origin is Literal:
            if raw not in arguments or isinstance(raw, bool) != any(isinstance(one, bool) for one in arguments):
                allowed = nearest(str(raw), map(str, arguments))
                raise RecipeError(f"{self.source}: {where}: unknown value", came=repr(raw), allowed=allowed)
            return raw
        if origin is tuple:
            self._expect(raw, list | tuple, where, "a list")
            if len(arguments) == 2 and arguments[1] is Ellipsis:
                arguments = (arguments[0],) * len(raw)
            if len(arguments) != len(raw):
                raise RecipeError(
                    f"{self.source}: {where}: wrong length", came=len(raw), allowed=f"{len(arguments)} values"
                )
            return tuple(self.value(one, kind, f"{where}[{i}]") for i, (one, kind) in enumerate(zip(raw, arguments)))
        if origin is dict:
            self._expect(raw, Mapping, where, "a table")
            return {key: self.value(one, arguments[1], f"{where}.{key}") for key, one in raw.items()}
        if hint is Any:
            return raw
        return self._scalar(raw, hint, where)

    def _scalar(self, raw: Any, hint: Any, where: str) -> Any:
        if hint is Path and isinstance(raw, str | Path):
            if not str(raw):
                raise RecipeError(f"{self.source}: {where}: an empty path")
            return Path(raw)
        if hint is float and isinstance(raw, int | float) and not isinstance(raw, bool):
            return float(raw)
        if isinstance(hint, type) and isinstance(raw, hint) and (hint is bool or not isinstance(raw, bool)):
            return raw
        words = {bool: "true or false", int: "a whole number", float: "a number", str: "a string", Path: "a path"}
        raise RecipeError(f"{self.source}: {where}: wrong type", came=repr(raw), allowed=words.get(hint, str(hint)))

    def _expect(self, raw: Any, kind: Any, where: str, words: str) -> None:
        if not isinstance(raw, kind):
            raise RecipeError(f"{self.source}: {where}: wrong type", came=repr(raw), allowed=words)

    def _refuse_unknown(self, given: Iterable[str], known: Mapping[str, Setting], where: str) -> None:
        for name in given:
            if name not in known:
                raise RecipeError(f"{self.source}: unknown key {where}{name}", allowed=nearest(name, known))

    def _substitute(self, text: str, where: str) -> str:
        def value_of(match: re.Match[str]) -> str:
            name = match.group(1)
            if name not in self.variables:
                raise RecipeError(
                    f"{self.source}: {where}: ${{{name}}} has no value", came=text, next_step=f"give --{name.lower()}"
                )
            return str(self.variables[name])

        return _VARIABLE.sub(value_of, text)

    def _make(self, where: str, make: Callable[[], T]) -> T:
        try:
            return make()
        except (UsageError, ValueError) as error:
            raise RecipeError(f"{self.source}: {where}{error}") from error


def _dump_table(recipe: Any, where: str, lines: list[str]) -> None:
    tables: list[tuple[str, Any]] = []
    for item in _settings(type(recipe)).values():
        value = getattr(recipe, item.key)
        if value is None:
            if item.default is not None:
                raise RecipeError(
                    f"{where}{item.key}: None cannot be written as TOML", next_step="make None its default"
                )
        elif dataclasses.is_dataclass(value):
            tables.append((item.key, value))
        else:
            lines.append(f"{item.key} = {_dump_value(value)}")
    for name, value in tables:
        lines += ["", f"[{where}{name}]"]
        _dump_table(value, f"{where}{name}.", lines)


def _dump_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str | Path):
        return _dump_string(str(value))
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_dump_value(one) for one in value) + "]"
    if dataclasses.is_dataclass(value):
        pairs = {item.name: getattr(value, item.name) for item in dataclasses.fields(value)}
        return _dump_value({key: one for key, one in pairs.items() if one is not None})
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_dump_key(key)} = {_dump_value(one)}" for key, one in value.items()) + "}"
    raise RecipeError("a recipe value that TOML cannot hold", came=type(value).__name__)


def _dump_key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else _dump_string(key)


def _dump_string(text: str) -> str:
    import json

    return json.dumps(text, ensure_ascii=False).replace(
        "\x7f", "\\u007f"
    )  # JSON's escapes are TOML's; DEL is not JSON's
