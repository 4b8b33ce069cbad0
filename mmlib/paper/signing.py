"""Who sends a request, and whether it is fresh: API key, HMAC-SHA256 or Ed25519 signature, timestamp within its window."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from mmlib.paper.errors import ApiError, missing
from mmlib.paper.params import Params
from mmlib.paper.party import Party

_BAD = ApiError(-1022, "Signature for this request is not valid.")
_USUAL_MS, _LONGEST_MS, _AHEAD_MS = 5000, 60_000, 1000


def check_signature(party: Party, payload: str, signature: str) -> None:
    """Refuse a payload that the account's owner has not signed.

    Args:
        payload: query and body as they were sent, without the signature.

    Raises:
        ApiError: the signature does not fit.
    """
    if not signature:
        raise missing("signature")
    credentials = party.credentials
    if credentials.public_key:
        if not _ed25519(credentials.public_key, payload.encode(), signature):
            raise _BAD
        return
    expected = hmac.new(credentials.secret.encode(), payload.encode(), hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected.encode(), signature.lower().encode()):
        raise _BAD


def check_time(params: Params, now_ms: int) -> None:
    """Refuse a request that is too old or from the future.

    Raises:
        ApiError: see the text.
    """
    sent_ms, window_ms = params.integer("timestamp"), params.integer("recvWindow", _USUAL_MS)
    if sent_ms > 10**14:
        sent_ms //= 1000  # microseconds are allowed as well
    if not 0 < window_ms <= _LONGEST_MS:
        raise ApiError(-1131, "recvWindow must be less than 60000")
    if sent_ms >= now_ms + _AHEAD_MS:
        raise ApiError(-1021, f"Timestamp for this request was {_AHEAD_MS}ms ahead of the server's time.")
    if now_ms - sent_ms > window_ms:
        raise ApiError(-1021, "Timestamp for this request is outside of the recvWindow.")


def split_signature(text: str) -> tuple[str, str]:
    """What was signed, and the signature, of an encoded query or body; the signature may stand anywhere."""
    parts = text.split("&") if text else []
    signed = [one for one in parts if not one.startswith("signature=")]
    found = [one.removeprefix("signature=") for one in parts if one.startswith("signature=")]
    return "&".join(signed), found[-1] if found else ""


def ws_payload(params: Mapping[str, Any]) -> str:
    """What the WebSocket API has signed: parameters in the order of their names."""
    given = {name: value for name, value in params.items() if name != "signature"}
    return "&".join(f"{name}={_written(given[name])}" for name in sorted(given))


def _written(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _ed25519(pem: str, payload: bytes, signature: str) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        _public_key(pem).verify(base64.b64decode(signature, validate=True), payload)
    except (InvalidSignature, binascii.Error):
        return False
    return True


@lru_cache
def _public_key(pem: str) -> Any:
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    return load_pem_public_key(pem.encode())
