"""Mask what looks like a secret, by the name of its key, by the look of its value, or because it is known to be one.

All that leaves the process goes through here: what is written for others (``mask``, ``mask_text``), and the terminal, whose
streams call ``mask_text`` (``mmlib.config.terminal``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

MASK = "***"

_NAMES = re.compile(
    r"key|secret|token|passw|passphrase|credential|private|auth|bearer|cookie|mnemonic|seed_phrase", re.I
)
_VALUES = re.compile(
    r"-----BEGIN|^Bearer\s|^Basic\s|^eyJ[\w-]+\.|^AKIA[0-9A-Z]{12,}|^gh[opsu]_\w{20,}|^xox[a-z]-|://[^/\s:@]+:[^/\s@]+@",
)
_COMMANDS = frozenset({"command", "notify", "notify.command"})
"""Keys of a program and its arguments; an argument may be anything, a bearer token or a webhook among them."""
_FORMS = re.compile(
    r"-----BEGIN[^-]*-----.*?(?:-----END[^-]*-----|$)|\beyJ[\w-]{8,}(?:\.[\w-]*)+|\bAKIA[0-9A-Z]{12,}|\bgh[opsu]_\w{20,}"
    r"|\bgithub_pat_\w{20,}|\bglpat-[\w-]{16,}|\bxox[a-z]-[\w-]{8,}|\b[sr]k_(?:live|test)_\w{8,}|\b\d{8,10}:[\w-]{30,}",
    re.S,
)
_BEARER = re.compile(
    r"(?i)\b(bearer\s+|authorization\W{1,4}(?:\w+\s+)?)(?!\*\*\*|\w+\s+\*\*\*)[\w.~+/=-]{6,}"
)
_NAMED = re.compile(
    r"(?i)((?:(?:api|access|private|secret|signing|auth)[_-]?key|secret|token|passw(?:or)?d|passphrase|credential"
    r"|cookie|mnemonic)[\w.-]{0,64}[\"']?)(\s*=\s*|[\"']?:\s*[\"'])([\"']?)([^\s\"',;&<>\\]+)"
)
_URL = re.compile(r"(?i)\b(https?|wss?)://[^\s\"'<>\\`]+")
_HOOKS = re.compile(
    r"(?i)hook|/services/|/bot\d|notify|incoming|/alert|/trigger|/integrations?/|discord|slack|telegram|pagerduty"
)
_LOOPBACK = re.compile(r"(\bhttps?://(?:127\.0\.0\.1|localhost)(?::\d+)?(?:[/?][^\s\"'<>\\`]*)?)(?![^\s/]*@)")
"""JupyterLab's address on this machine, whose token is for whoever started it."""
_DATA = re.compile(r"[A-Za-z0-9+/]{4096,}={0,2}")
"""Numbers of a figure, as plotly writes them: no credential is so long, and looking through megabytes takes seconds."""
_SHORTEST = 6  # letters of a text that is replaced wherever it stands
_known: set[str] = set()
_OPAQUE = re.compile(r"^[A-Za-z0-9+/_=-]{20,}$")


def looks_secret(value: str) -> bool:
    """Whether a text looks like a credential: a known form, or 20 opaque letters mixed with digits."""
    if _VALUES.search(value):
        return True
    return bool(_OPAQUE.match(value) and re.search(r"\d", value) and re.search(r"[A-Za-z]", value))


def mask_value(key: str, value: Any) -> Any:
    """``MASK`` in place of a value whose key or text looks secret; mappings and lists are masked inside."""
    if key in _COMMANDS and isinstance(value, (list, tuple)):
        return [*map(str, value[:1]), *[MASK for _ in value[1:]]]
    if isinstance(value, Mapping):
        return MASK if _NAMES.search(key) else mask(value)
    if isinstance(value, (list, tuple)):
        return MASK if _NAMES.search(key) else [mask_value("", item) for item in value]
    if value is None or isinstance(value, bool):
        return value
    if _NAMES.search(key) or (isinstance(value, str) and looks_secret(value)):
        return MASK
    return mask_text(value) if isinstance(value, str) else value


def mask(tree: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a nested mapping with everything that looks like a secret replaced by ``MASK``."""
    return {str(key): mask_value(str(key), value) for key, value in tree.items()}


def mask_text(text: str) -> str:
    """A text with credentials, webhooks and what ``remember`` was told replaced by ``MASK``; all else stays as it is."""
    for secret in sorted(_known, key=len, reverse=True):
        text = text.replace(secret, MASK)
    if _DATA.fullmatch(text):
        return text
    return "".join(part if k % 2 else _masked(part) for k, part in enumerate(_LOOPBACK.split(text)))


def _masked(text: str) -> str:
    text = _URL.sub(_masked_url, _FORMS.sub(MASK, text))
    text = _BEARER.sub(rf"\1{MASK}", text)
    return _NAMED.sub(_masked_pair, text)


def mask_strings(tree: Any) -> Any:
    """The same JSON tree with every text in it masked; keys stay."""
    if isinstance(tree, str):
        return mask_text(tree)
    if isinstance(tree, Mapping):
        return {key: mask_strings(value) for key, value in tree.items()}
    return [mask_strings(value) for value in tree] if isinstance(tree, list) else tree


def mask_words(words: Sequence[str]) -> list[str]:
    """A command line whose ``--set KEY=VALUE`` are masked by key and look, all other words by look."""
    out: list[str] = []
    for word in words:
        before = "--set=" if word.startswith("--set=") else ""
        key, equals, value = word.removeprefix(before).partition("=")
        if (before or (out and out[-1] == "--set")) and equals:
            secret = key.strip().split(".")[0] in _COMMANDS or mask_value(key, value) != value
            out.append(f"{before}{key}={MASK if secret else value}")
        else:
            out.append(mask_text(word))
    return out


def remember(tree: Any, key: str = "") -> None:
    """Let ``mask_text`` know the secrets of a configuration: what is behind a secret's name, and arguments of a command."""
    if isinstance(tree, Mapping):
        for name, value in tree.items():
            remember(value, str(name).rpartition(".")[2] if not _NAMES.search(key) else key)
    elif isinstance(tree, (list, tuple)):
        for value in tree[1:] if key in _COMMANDS else tree:
            remember(value, key)
    elif isinstance(tree, str):
        _remember_text(tree, key)


def _remember_text(text: str, key: str) -> None:
    if len(text) < _SHORTEST:
        return
    telling = not re.fullmatch(r"[A-Za-z./_-]+", text)  # a word or a plain path is no secret
    if _NAMES.search(key) or (key in _COMMANDS and telling) or looks_secret(text):
        _known.add(text)
        _known.update(_tellers(re.split(r"[\s\"'=:]+", text)))


def _tellers(pieces: Iterable[str]) -> list[str]:
    """Pieces of an argument that are secret by themselves, such as the token in a header."""
    return [
        piece
        for piece in pieces
        if len(piece) >= 12 and re.search(r"\d", piece) and re.search(r"[A-Za-z]", piece)
    ]


def _masked_url(match: re.Match[str]) -> str:
    text = match[0]
    try:
        url = urlsplit(text)
        host, user = url.hostname or "", url.username or url.password
    except ValueError:
        return MASK
    pieces = [piece.rstrip(".,;:)]}") for piece in (*url.path.split("/"), *re.split(r"[&=]", url.query))]
    opaque = any(len(piece) >= 16 and "@" not in piece and _tellers([piece]) for piece in pieces)
    hook = url.scheme.lower().startswith("http") and _HOOKS.search(f"{host}{url.path}") and len(url.path) > 1
    if opaque or hook or user:
        return f"{url.scheme}://{host}/{MASK}"
    return text


def _masked_pair(match: re.Match[str]) -> str:
    name, between, quote, value = match.groups()
    return match[0] if value.startswith(MASK) else f"{name}{between}{quote}{MASK}"
