"""Change one value of a YAML file in place: comments and layout stay, and the result is read back."""

from __future__ import annotations

from typing import Any

import yaml

from mmlib._io import UserError
from mmlib.config.load import deep_merge
from mmlib.yamlfile import compose, parse_value


def set_scalar(text: str, section: str, key: str, value: bool | int | float, name: str) -> str:
    """Return ``text`` with ``section.key`` set to ``value``; a missing key or section is added.

    Args:
        text: a YAML mapping of sections.
        section, key: the two parts of the dotted key.
        value: the new value.
        name: the file's name, for messages.

    Raises:
        UserError: the text cannot be changed without touching anything else.
    """
    token = yaml.safe_dump(value).split("\n", 1)[0]
    start, stop, inserted = _place(text, section, key, token, name)
    changed = text[:start] + inserted + text[stop:]
    try:
        read_back = parse_value(changed, name)
    except UserError:
        read_back = None
    if read_back != deep_merge(parse_value(text, name) or {}, {section: {key: value}}):
        line = text.count("\n", 0, start) + 1
        raise UserError(
            f"{name}:{line}: {section}.{key}: cannot be changed in place; "
            f"expected '{section}:' and below it '{key}: {token}'"
        )
    return changed


def _place(text: str, section: str, key: str, token: str, name: str) -> tuple[int, int, str]:
    """Where to cut (start, stop, in characters) and what to put there."""
    root = compose(text, name)
    if not isinstance(root, yaml.MappingNode):
        raise UserError(f"{name}:1: expected a mapping (key: value) at the top level")
    newline = "\r\n" if "\r\n" in text else "\n"
    body = _child(root, section)
    if body is None and root.flow_style:
        inside = root.start_mark.index + 1
        return inside, inside, f"{section}: {{{key}: {token}}}{', ' if root.value else ''}"
    if body is None:
        gap = "" if text.endswith("\n") else newline
        return len(text), len(text), f"{gap}{newline}{section}:{newline}  {key}: {token}{newline}"
    start, stop = body.start_mark.index, body.end_mark.index
    if not isinstance(body, yaml.MappingNode):
        if start != stop:
            line = body.start_mark.line + 1
            raise UserError(
                f"{name}:{line}: {section}: expected a mapping of keys, got a single value or a list"
            )
        return start, stop, f" {{{key}: {token}}}"
    if not body.value:
        return start, stop, f"{{{key}: {token}}}"
    leaf = _child(body, key)
    if leaf is not None:
        start, stop = leaf.start_mark.index, leaf.end_mark.index
        return start, stop, f" {token}" if start == stop else token
    first = body.value[0][0].start_mark
    if body.flow_style:
        return first.index, first.index, f"{key}: {token}, "
    return first.index, first.index, f"{key}: {token}{newline}{' ' * first.column}"


def _child(node: yaml.MappingNode, key: str) -> Any:
    """The value node of a key, None when it is absent."""
    return next((value for name, value in node.value if name.value == key), None)
