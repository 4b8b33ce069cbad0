"""Codes under which errors are counted, the same in feeds, telemetry and reports."""

from __future__ import annotations

RATE_LIMIT = "ERR_429_RATE_LIMIT"
SERVER = "ERR_5XX_SERVER"
TIMEOUT = "ERR_TIMEOUT"
DISCONNECT = "ERR_WS_DISCONNECT"
REJECTED = "ERR_4XX_REJECTED"
GAP = "ERR_SEQUENCE_GAP"
BAD_FRAME = "ERR_BAD_FRAME"
SILENT = "ERR_SILENT_FEED"
NO_BOOK = "ERR_BOOK_INCOMPLETE"
COMPILED = "ERR_COMPILED_IN_SESSION"

CODES = {
    RATE_LIMIT: "the exchange refused a request for its rate (429, 418)",
    SERVER: "the exchange failed to answer a request (5xx)",
    TIMEOUT: "no answer to a request in time, or no connection for it",
    DISCONNECT: "the stream was cut, refused or silent for too long",
    REJECTED: "the exchange refused a request (4xx other than its rate)",
    GAP: "updates of a book are missing between two messages",
    BAD_FRAME: "a message that is none: no JSON, or numbers that cannot be",
    SILENT: "at a tick, a book older than risk_guards.max_age_ms",
    NO_BOOK: "at a tick, a book without one of its sides",
    COMPILED: "a kernel was missing and was compiled while the market went on",
}
"""Code to what it means."""
