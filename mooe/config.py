"""Typed configuration: dataclasses filled from YAML files, unknown keys refused.

A configuration is a dataclass, possibly with dataclasses inside; the field types say what is allowed and the
field defaults what may be left out:

    @dataclass(frozen=True)
    class Optimizer:
        learning_rate: float = 1e-4

    @dataclass(frozen=True)
    class Training:
        corpus: Path
        optimizer: Optimizer = field(default_factory=Optimizer)

    config = load_config("configs/motion.yaml", Training, overrides=["optimizer.learning_rate=3e-4"])
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, cast

import yaml

from mooe.errors import ConfigError

ConfigType = TypeVar("ConfigType")


def load_config(
    path: str | PathLike[str] | None, schema: type[ConfigType], overrides: Iterable[str] = ()
) -> ConfigType:
    """Read a YAML file into an instance of a dataclass.

    Args:
        path: the YAML file; None starts from the defaults of `schema` alone.
        schema: a dataclass. Allowed field types: bool, int, float, str, Path, Literal, list, tuple, dict,
            dataclasses, and any of these or None.
        overrides: "key=value" or "outer.inner=value", value in YAML; they win over the file.

    Returns:
        An instance of `schema`.

    Raises:
        ConfigError: the file cannot be read, a key is unknown or missing, or a value has the wrong type; the
            message names the key.
    """
    content = _read_yaml(Path(path)) if path is not None else {}
    for override in overrides:
        _override(content, override)
    return from_dict(content, schema, source=str(path) if path is not None else "the settings")


def from_dict(
    content: Mapping[str, Any], schema: type[ConfigType], source: str = "the settings"
) -> ConfigType:
    """Check plain nested data against a dataclass and build it; `source` is what messages call the data."""
    return cast(ConfigType, _build(content, schema, "", source))


def to_dict(config: Any) -> dict[str, Any]:
    """The plain nested data of a configuration, as YAML and JSON can hold it; the inverse of `from_dict`."""
    return {f.name: _plain(getattr(config, f.name)) for f in dataclasses.fields(config)}


def save_config(config: Any, path: str | PathLike[str]) -> None:
    """Write a configuration as YAML, so that a run can say what it ran with."""
    Path(path).write_text(
        yaml.safe_dump(to_dict(config), sort_keys=False, allow_unicode=True), encoding="utf-8"
    )


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return to_dict(value)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice, which YAML forbids and PyYAML lets pass."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            if key_node.value in seen:
                raise yaml.constructor.ConstructorError(
                    problem=f"key {key_node.value!r} is given twice", problem_mark=key_node.start_mark
                )
            seen.add(key_node.value)
        return super().construct_mapping(node, deep)


def _parse_yaml(text: str) -> Any:
    return yaml.load(text, Loader=_Loader)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = _parse_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ConfigError(f"The configuration {path} cannot be read ({reason}): check the path.") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"The configuration {path} is not valid YAML: {_yaml_problem(error)}.") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"The configuration {path} must be a list of 'key: value' lines.")
    return content


def _yaml_problem(error: yaml.YAMLError) -> str:
    problem = getattr(error, "problem", None) or "it cannot be parsed"
    mark = getattr(error, "problem_mark", None)
    return f"{problem} (line {mark.line + 1})" if mark else problem


def _override(content: dict[str, Any], override: str) -> None:
    name, equals, text = override.partition("=")
    keys = name.strip().split(".")
    if not equals or not all(keys):
        raise ConfigError(f"The setting {override!r} must look like key=value or outer.inner=value.")
    try:
        value = _parse_yaml(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"The value in {override!r} is not valid YAML: {_yaml_problem(error)}.") from error
    inner = content
    for key in keys[:-1]:
        inner = inner.setdefault(key, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"The setting {override!r} goes into {key}, which is a single value.")
    inner[keys[-1]] = value


def _build(content: Any, schema: type, where: str, source: str) -> Any:
    if not isinstance(content, Mapping):
        raise ConfigError(
            f"{where or 'the file'} in {source} must be a group of keys, not {_shown(content)}."
        )
    hints = typing.get_type_hints(schema)
    fields = {f.name: f for f in dataclasses.fields(schema) if f.init}
    for key in content:
        if key not in fields:
            raise ConfigError(_unknown(str(key), list(fields), where, source))
    values = {}
    for name, field in fields.items():
        key = f"{where}.{name}" if where else name
        if name in content:
            values[name] = _convert(content[name], hints[name], key, source)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ConfigError(f"{key} is missing in {source}: add it.")
    try:
        return schema(**values)
    except (ValueError, TypeError) as error:
        # What a dataclass checks itself in __post_init__.
        raise ConfigError(f"{where or 'the configuration'} in {source} is not valid: {error}") from error


def _unknown(key: str, known: list[str], where: str, source: str) -> str:
    place = f" of {where}" if where else ""
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    cure = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}."
    return f"{key!r} in {source} is not a key{place}: {cure}"


def _convert(value: Any, hint: Any, key: str, source: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        return _convert_union(value, arguments, key, source)
    if origin is Literal:
        if any(value == choice and type(value) is type(choice) for choice in arguments):
            return value
        raise ConfigError(
            f"{key} in {source} must be one of {', '.join(map(str, arguments))}: got {_shown(value)}."
        )
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _build(value, hint, key, source)
    if origin in (list, tuple):
        return _convert_sequence(value, origin, arguments, key, source)
    if origin is dict:
        if not isinstance(value, Mapping):
            raise _wrong(value, "a group of keys", key, source)
        return {
            _convert(k, arguments[0], f"a key of {key}", source): _convert(
                v, arguments[1], f"{key}.{k}", source
            )
            for k, v in value.items()
        }
    return _convert_scalar(value, hint, key, source)


def _convert_union(value: Any, choices: tuple[Any, ...], key: str, source: str) -> Any:
    if value is None and type(None) in choices:
        return None
    kinds = [choice for choice in choices if choice is not type(None)]
    for kind in kinds[:-1]:
        try:
            return _convert(value, kind, key, source)
        except ConfigError:
            continue
    return _convert(value, kinds[-1], key, source)


def _convert_sequence(value: Any, origin: type, arguments: tuple[Any, ...], key: str, source: str) -> Any:
    if not isinstance(value, list | tuple):
        raise _wrong(value, "a list", key, source)
    open_ended = origin is list or arguments[1:] == (...,)
    if not open_ended and len(value) != len(arguments):
        raise _wrong(value, f"a list of {len(arguments)} values", key, source)
    kinds = [arguments[0]] * len(value) if open_ended else arguments
    return origin(
        _convert(item, kind, f"{key}[{i}]", source)
        for i, (item, kind) in enumerate(zip(value, kinds, strict=True))
    )


def _convert_scalar(value: Any, hint: Any, key: str, source: str) -> Any:
    if hint is Any or (type(value) is hint and not isinstance(value, float)):
        return value
    if hint is Path and isinstance(value, str) and value:
        return Path(value)
    if hint is float and isinstance(value, int | float | str) and not isinstance(value, bool):
        # YAML 1.1 reads 1e-4 (no dot) as text; people mean a number.
        with_number = _as_float(value)
        if with_number is not None and math.isfinite(with_number):
            return with_number
        raise _wrong(value, "a finite number", key, source)
    names = {int: "a whole number", float: "a number", str: "text", bool: "true or false", Path: "a path"}
    raise _wrong(value, names.get(hint, str(hint)), key, source)


def _as_float(value: float | str) -> float | None:
    try:
        return float(value)
    except ValueError:
        return None


def _wrong(value: Any, wanted: str, key: str, source: str) -> ConfigError:
    return ConfigError(f"{key} in {source} must be {wanted}: got {_shown(value)}.")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
