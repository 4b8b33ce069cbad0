"""Strict YAML mappings: plain values, no tags, aliases or duplicate keys, and the line of every key.

Numbers follow the one grammar of ``mmlib._numbers``, wherever a file or ``--set`` is read.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mmlib._io import UserError, regular
from mmlib._numbers import LOOKS_LIKE, number

MAX_BYTES = 1_000_000
_STANDARD = "tag:yaml.org,2002:"
_READ_DIFFERENTLY = (
    "\t",
    "\ufeff",
    "?",
)  # libyaml takes a tab, a late byte order mark or a bare ? in more places than PyYAML
_DEEPEST = 50  # levels; a parameter file has a few, and the compiled parser would overflow its stack at some thousands
_PLAIN_TAGS = frozenset(
    _STANDARD + kind for kind in ("map", "seq", "str", "int", "float", "bool", "null", "timestamp")
)
_NUMBERS = (f"{_STANDARD}int", f"{_STANDARD}float")


def _with_our_numbers(loader: Any) -> Any:
    """A loader class that resolves and constructs numbers by our grammar instead of YAML 1.1's."""
    others = {
        first: [(tag, pattern) for tag, pattern in pairs if tag not in _NUMBERS]
        for first, pairs in loader.yaml_implicit_resolvers.items()
    }
    ours: Any = type(f"Strict{loader.__name__}", (loader,), {"yaml_implicit_resolvers": others})
    ours.add_implicit_resolver(_NUMBERS[1], LOOKS_LIKE, list("-+.0123456789iInN"))
    for tag in _NUMBERS:
        ours.add_constructor(tag, lambda _, node: number(node.value))
    return ours


_LOADER = _with_our_numbers(yaml.SafeLoader)
_COMPILED = _with_our_numbers(yaml.CSafeLoader) if yaml.__with_libyaml__ else None


@dataclass(frozen=True)
class Document:
    """A parsed YAML mapping: its values, the line of each dotted key (from 1), the SHA-256 of its bytes."""

    name: str
    tree: dict[str, Any]
    lines: dict[str, int]
    sha256: str

    def place(self, dotted: str) -> str:
        """``name:line`` of a key, of its nearest known parent, or the bare name."""
        parts = dotted.split(".")
        for stop in range(len(parts), 0, -1):
            line = self.lines.get(".".join(parts[:stop]))
            if line is not None:
                return f"{self.name}:{line}"
        return self.name


def read_bytes(path: Path) -> bytes:
    """Content of a parameter file.

    Raises:
        UserError: missing, unreadable, or larger than ``MAX_BYTES``.
    """
    try:
        data = regular(path).read_bytes()
    except FileNotFoundError as exc:
        raise UserError(f"{path}: no such file; expected a YAML file") from exc
    except OSError as exc:
        raise UserError(f"{path}: cannot be read ({exc.strerror}); expected a YAML file") from exc
    if len(data) > MAX_BYTES:
        raise UserError(f"{path}: {len(data)} bytes; expected a parameter file of at most {MAX_BYTES} bytes")
    return data


def read_mapping(path: Path) -> Document:
    """Read a YAML file whose top level is a mapping.

    Raises:
        UserError: unreadable, not UTF-8, not YAML, no mapping, or a tag, alias, duplicate key or ambiguous number in it.
    """
    data = read_bytes(path)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise UserError(f"{path}: byte {exc.start} is not UTF-8; expected a YAML file in UTF-8") from exc
    node = _compiled(text) or compose(text, str(path))
    if not isinstance(node, yaml.MappingNode):
        raise UserError(f"{path}:1: expected a mapping (key: value) at the top level")
    lines = _check(node, str(path))
    return Document(str(path), _construct(node, str(path)), lines, hashlib.sha256(data).hexdigest())


def parse_value(text: str, name: str) -> Any:
    """One YAML value, as ``--set key=value`` takes it.

    Raises:
        UserError: not YAML, or a tag, alias, duplicate key or ambiguous number in it.
    """
    node = compose(text, name)
    if node is None:
        return None
    _check(node, name)
    return _construct(node, name)


def compose(text: str, name: str) -> yaml.Node | None:
    """The node tree of one YAML document, None when it is empty; a syntax error becomes one line."""
    try:
        return yaml.compose(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as exc:
        line = f":{exc.problem_mark.line + 1}" if exc.problem_mark else ""
        raise UserError(
            f"{name}{line}: not YAML ({exc.problem or exc.context}); expected key: value lines"
        ) from exc
    except yaml.YAMLError as exc:
        raise UserError(
            f"{name}: not YAML ({' '.join(str(exc).split())}); expected key: value lines"
        ) from exc
    except RecursionError as exc:
        raise UserError(f"{name}: nested too deeply; expected a parameter file of a few levels") from exc


def _compiled(text: str) -> yaml.Node | None:
    """The node tree by libyaml, in a seventh of the time of ``compose``.

    Returns:
        Tags, values and lines as ``compose`` finds them. None for what is empty, deeply nested or not YAML, for text that the
        two read differently, and where PyYAML has no libyaml: ``compose`` then reads it, or says what is wrong with it.
    """
    loader = _COMPILED if hasattr(yaml, "CSafeLoader") else None
    if loader is None or any(mark in text for mark in _READ_DIFFERENTLY):
        return None
    depth = 0
    try:
        for event in yaml.parse(text, Loader=loader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > _DEEPEST:
                return None
        return yaml.compose(text, Loader=loader)
    except yaml.YAMLError:
        return None


def suggest(name: str, candidates: Iterable[str]) -> str:
    """``; did you mean 'x'?`` for the closest candidate, '' when none is close."""
    close = difflib.get_close_matches(str(name), list(candidates), n=1, cutoff=0.6)
    return f"; did you mean '{close[0]}'?" if close else ""


def _check(root: yaml.Node, name: str) -> dict[str, int]:
    """Refuse what is not a plain value; return the line of every dotted key."""
    lines: dict[str, int] = {}
    seen: set[int] = set()
    todo: list[tuple[str, yaml.Node]] = [("", root)]
    while todo:
        prefix, node = todo.pop()
        line = node.start_mark.line + 1
        if node.tag not in _PLAIN_TAGS:
            tag = node.tag.replace(_STANDARD, "!!")
            raise UserError(
                f"{name}:{line}: {prefix or 'top level'}: tag {tag} is refused; expected plain values"
            )
        if id(node) in seen:
            raise UserError(f"{name}:{line}: {prefix}: an alias is refused; expected the value written out")
        seen.add(id(node))
        if node.tag in _NUMBERS and isinstance(node, yaml.ScalarNode):
            _check_number(node.value, f"{name}:{line}: {prefix}" if prefix else name)
        if isinstance(node, yaml.MappingNode):
            todo.extend(reversed(_children(node, prefix, name, lines)))
        elif isinstance(node, yaml.SequenceNode):
            items = [(f"{prefix}[{i}]", child) for i, child in enumerate(node.value)]
            lines |= {item: child.start_mark.line + 1 for item, child in items}
            todo.extend(reversed(items))
    return lines


def _check_number(text: str, place: str) -> None:
    try:
        number(text)
    except ValueError as exc:
        raise UserError(f"{place}: {exc}") from exc


def _children(
    node: yaml.MappingNode, prefix: str, name: str, lines: dict[str, int]
) -> list[tuple[str, yaml.Node]]:
    """The values of one mapping with their dotted names; its key lines are added to ``lines``."""
    children: list[tuple[str, yaml.Node]] = []
    for key, value in node.value:
        line = key.start_mark.line + 1
        if key.tag != f"{_STANDARD}str":
            raise UserError(f"{name}:{line}: {prefix or 'top level'}: expected text as a key (quote it)")
        dotted = f"{prefix}.{key.value}" if prefix else key.value
        if dotted in lines:
            raise UserError(
                f"{name}:{line}: {dotted}: duplicate key, first on line {lines[dotted]}; expected it once"
            )
        lines[dotted] = line
        children.append((dotted, value))
    return children


def _construct(node: yaml.Node, name: str) -> Any:
    """Values of a composed tree that ``_check`` has passed, through PyYAML's safe constructor."""
    loader = _LOADER("")
    try:
        return loader.construct_document(node)
    except (yaml.YAMLError, ValueError, OverflowError) as exc:
        line, reason = _first_unreadable(node) or (node.start_mark.line + 1, str(exc))
        raise UserError(f"{name}:{line}: cannot be read ({reason}); expected a plain value") from exc
    finally:
        loader.dispose()


def _first_unreadable(root: yaml.Node) -> tuple[int, str] | None:
    """Line and reason of the first scalar that has no value, such as the date 2025-02-30."""
    todo = [root]
    while todo:
        node = todo.pop()
        if isinstance(node, yaml.ScalarNode):
            try:
                _LOADER("").construct_document(node)
            except (yaml.YAMLError, ValueError, OverflowError) as exc:
                return node.start_mark.line + 1, " ".join(str(exc).split())
        elif isinstance(node, yaml.MappingNode):
            todo.extend(value for _, value in reversed(node.value))
        else:
            todo.extend(reversed(node.value))
    return None
