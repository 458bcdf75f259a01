"""Options: typed once, validated once; recipes in YAML with ``key=value`` overrides."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from emofuse.errors import OptionError, UsageError, nearest_hint, shorten

__all__ = ["Options", "apply_overrides", "load_yaml", "parse_yaml"]

MAX_YAML_BYTES = 1 << 20
MAX_YAML_NODES = 100_000
MAX_YAML_DEPTH = 60


class Options(BaseModel):
    """A frozen set of options; an unknown key is an error that names the nearest legal one."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    @classmethod
    def parse(cls, data: Any, where: str = "options") -> Self:
        """Validate ``data``.

        Args:
            data: a mapping, usually read from YAML.
            where: what the data is, for messages (a file name).

        Raises:
            OptionError: the first mistake, in one line.
        """
        if not isinstance(data, Mapping):
            raise OptionError(f"{where}: expected keys and values, got {shorten(data)}")
        try:
            return cls.model_validate(dict(data))
        except ValidationError as error:
            raise OptionError(f"{where}: {cls._explain(error)}") from error

    @classmethod
    def _explain(cls, error: ValidationError) -> str:
        details = error.errors(include_url=False)
        first = next((d for d in details if d["type"] == "extra_forbidden"), details[0])
        more = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
        return _explain_one(cls, first) + more


def _explain_one(model: type[BaseModel], detail: ErrorDetails) -> str:
    # pydantic names the members of a union, such as literal['auto'], which nobody wrote
    path = ".".join(str(part) for part in detail["loc"] if "[" not in str(part))
    if detail["type"] == "extra_forbidden":
        legal = _fields_at(model, detail["loc"][:-1])
        return f"unknown key {path!r}; {nearest_hint(str(detail['loc'][-1]), legal)}"
    if detail["type"] == "missing":
        return f"key {path!r} is missing"
    message = detail["msg"].removeprefix("Value error, ")
    place = f"{path} = {shorten(detail['input'])}: " if path else ""
    return place + message[:1].lower() + message[1:]


def _fields_at(model: type[BaseModel], path: Iterable[str | int]) -> list[str]:
    """Legal keys of the options reached by ``path`` (a union's members are all searched)."""
    models = [model]
    for part in path:
        following = [
            found
            for one in models
            if str(part) in one.model_fields
            for found in _models_in(one.model_fields[str(part)].annotation)
        ]
        models = following or models
    return sorted({name for one in models for name in one.model_fields})


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for inner in get_args(annotation) for found in _models_in(inner)]


class _Loader(yaml.SafeLoader):
    """Safe YAML whose duplicate keys are errors and whose ``1e-3`` is a number."""


def _construct_mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    loader.flatten_mapping(node)
    result: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str | int | float | bool):
            raise yaml.constructor.ConstructorError(
                None, None, "a key must be plain text", key_node.start_mark
            )
        if key in result:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {key!r} is given twice", key_node.start_mark
            )
        result[key] = loader.construct_object(value_node, deep=True)
    return result


_Loader.add_constructor("tag:yaml.org,2002:map", _construct_mapping)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+0123456789."),
)


def parse_yaml(text: str, where: str = "YAML") -> Any:
    """Read YAML that may come from a stranger.

    No code, no objects, no duplicate keys, and no aliases that blow up: the document may
    hold 100,000 nodes and 60 levels once its aliases are written out.

    Raises:
        UsageError: the text is no YAML or is too large.
    """
    if len(text.encode("utf-8", "surrogatepass")) > MAX_YAML_BYTES:
        raise UsageError(f"{where} is over {MAX_YAML_BYTES:,} bytes: not a recipe")
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _measure(node, where)
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        raise UsageError(f"{where} is not YAML: {_yaml_message(error)}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{where} is not YAML: {error}") from error


def _measure(root: yaml.Node, where: str) -> None:
    """Refuse a document whose aliases, written out, are too many, too deep or endless."""
    sizes: dict[int, int] = {}
    open_nodes: set[int] = set()

    def size(node: yaml.Node, depth: int) -> int:
        key = id(node)
        if key in open_nodes or depth > MAX_YAML_DEPTH:
            raise UsageError(f"{where} nests deeper than {MAX_YAML_DEPTH} levels")
        if key not in sizes:
            open_nodes.add(key)
            children = _children(node)
            sizes[key] = 1 + sum(size(child, depth + 1) for child in children)
            open_nodes.discard(key)
        if sizes[key] > MAX_YAML_NODES:
            raise UsageError(f"{where} holds over {MAX_YAML_NODES:,} values")
        return sizes[key]

    size(root, 0)


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    if isinstance(node, yaml.SequenceNode):
        return list(node.value)
    return []


def _yaml_message(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 1}: {error.problem or 'cannot be read'}"
    return str(error)


def load_yaml(path: Path) -> Any:
    """Read a YAML file (see `parse_yaml`).

    Raises:
        UsageError: the file is missing, unreadable, too large or no YAML.
    """
    try:
        if path.stat().st_size > MAX_YAML_BYTES:
            raise UsageError(f"{path} is over {MAX_YAML_BYTES:,} bytes: not a recipe")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text: {error.reason}") from error
    return parse_yaml(text, str(path))


def apply_overrides(data: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """Set ``key.sub=value`` pairs in a copy of ``data``; values are read as YAML.

    >>> apply_overrides({"trainer": {"epochs": 3}}, ["trainer.epochs=5", "name=x"])
    {'trainer': {'epochs': 5}, 'name': 'x'}

    Raises:
        OptionError: an override has no ``=``, or walks into something that has no keys.
    """
    result: dict[str, Any] = _copy(data)
    for override in overrides:
        key, equals, text = override.partition("=")
        parts = key.strip().split(".")
        if not equals or not all(parts):
            raise OptionError(f"override {shorten(override)} is not of the form key=value")
        _set(result, parts, parse_yaml(text, f"override {key}"), override)
    return result


def _copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copy(inner) for key, inner in value.items()}
    return [_copy(inner) for inner in value] if isinstance(value, list) else value


def _set(target: Any, parts: list[str], value: Any, override: str) -> None:
    for part in parts[:-1]:
        target = _step(target, part, override)
    last = parts[-1]
    if isinstance(target, dict):
        target[last] = value
    elif isinstance(target, list) and last.isdigit() and int(last) < len(target):
        target[int(last)] = value
    else:
        raise OptionError(f"override {shorten(override)}: {last!r} cannot be set there")


def _step(target: Any, part: str, override: str) -> Any:
    if isinstance(target, dict):
        if target.get(part) is None:
            target[part] = {}
        return target[part]
    if isinstance(target, list) and part.isdigit() and int(part) < len(target):
        return target[int(part)]
    raise OptionError(f"override {shorten(override)}: there is nothing under {part!r}")
