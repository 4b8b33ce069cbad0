"""What the exchange refuses, as its clients see it: a code, a text, an HTTP status."""

from __future__ import annotations

from typing import Any


class ApiError(Exception):
    """A request that is refused.

    Args:
        code: as the exchange documents it, such as -1121.
        text: the exchange's own words.
        status: of the HTTP answer.
        retry_after_s: for 418 and 429. data: what the answer says beside.
    """

    def __init__(
        self, code: int, text: str, status: int = 400, retry_after_s: int | None = None, data: Any = None
    ) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text
        self.status = status
        self.retry_after_s = retry_after_s
        self.data = data

    def body(self) -> dict[str, Any]:
        """The JSON that clients read."""
        answer: dict[str, Any] = {"code": self.code, "msg": self.text}
        return answer if self.data is None else answer | {"data": self.data}


def missing(name: str) -> ApiError:
    """A mandatory parameter is absent or cannot be read."""
    return ApiError(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")


def illegal(name: str) -> ApiError:
    """A parameter has characters that it cannot have."""
    return ApiError(-1100, f"Illegal characters found in parameter '{name}'.")


UNKNOWN_SYMBOL = ApiError(-1121, "Invalid symbol.")
UNKNOWN_CANCEL = ApiError(-2011, "Unknown order sent.")
NO_SUCH_ORDER = ApiError(-2013, "Order does not exist.")
NOT_SUPPORTED = ApiError(-1020, "This operation is not supported.")
