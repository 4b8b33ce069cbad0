"""The accounts of the paper exchange: who may trade, with what, at which fees and latency."""

from __future__ import annotations

import os
import secrets
from decimal import Decimal
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mmlib._extras import need
from mmlib._io import UserError
from mmlib.paper.matching import FillModel
from mmlib.yamlfile import read_mapping


class Fees(BaseModel):
    """Basis points of the notional; negative is a rebate."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    maker_bps: Decimal = Decimal("2.0")
    taker_bps: Decimal = Decimal("5.0")


class Latency(BaseModel):
    """Modelled time of requests to the matching, and of answers back."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    entry_ms: float = Field(default=10.0, ge=0, le=60_000)
    response_ms: float = Field(default=10.0, ge=0, le=60_000)


class Queue(BaseModel):
    """How the place of an order in its queue is estimated."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    model: str = "log"
    exponent: float = Field(default=3.0, gt=0)
    partial_fills: bool = True


class Account(BaseModel):
    """One account as its file states it."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,32}$")
    arm: Literal["A", "B"] = "A"
    key: str = ""
    secret_env: str = ""  # environment variable that holds the secret; empty has one generated
    public_key: str = ""  # PEM, for Ed25519 signatures instead of a secret
    balances: dict[str, Decimal] = Field(default_factory=lambda: {"USDT": Decimal(100_000)})
    fees: Fees = Fees()
    latency: Latency = Latency()
    queue: Queue = Queue()
    leverage: int = Field(default=20, ge=1, le=125)

    def fill_model(self) -> FillModel:
        """What the matching needs of it."""
        return FillModel(
            self.queue.model,
            self.queue.exponent,
            self.queue.partial_fills,
            round(self.latency.entry_ms * 1e6),
            round(self.latency.response_ms * 1e6),
        )


class Credentials:
    """The key and secret of an account; its text never shows the secret."""

    def __init__(self, account: Account) -> None:
        self.generated = not account.secret_env and not account.public_key
        self.key = account.key or secrets.token_urlsafe(48)[:64]
        self.secret = "" if account.public_key else _secret(account)
        self.public_key = account.public_key

    def __repr__(self) -> str:
        return f"Credentials({self.key[:6]}…)"


def _secret(account: Account) -> str:
    if not account.secret_env:
        return secrets.token_urlsafe(48)[:64]
    found = os.environ.get(account.secret_env, "")
    if not found:
        raise UserError(
            f"account {account.name}: secret_env: {account.secret_env} is not set; expected the secret in the environment"
        )
    return found


def load_accounts(path: Path | None) -> tuple[Account, ...]:
    """The accounts of a YAML file (``accounts: [...]``); one with the defaults where no file is named.

    Raises:
        UserError: the file, the key in it and what was expected.
    """
    if path is None:
        return (Account(name="paper"),)
    tree = read_mapping(path).tree
    unknown = set(tree) - {"accounts"}
    given = tree.get("accounts")
    if unknown or not isinstance(given, list) or not given:
        raise UserError(f"{path}: accounts: expected a list of accounts and nothing beside it")
    accounts = tuple(_account(path, k, one) for k, one in enumerate(given))
    for what in ("name", "key"):
        values = [getattr(one, what) for one in accounts if getattr(one, what)]
        double = next((value for value in values if values.count(value) > 1), None)
        if double:
            raise UserError(f"{path}: accounts: {what} of two accounts is the same; expected each once")
    return accounts


def _account(path: Path, place: int, given: object) -> Account:
    try:
        account = Account.model_validate(given)
        if account.public_key:
            need("cryptography", f"{path}: accounts[{place}].public_key")
        account.fill_model()
        return account
    except ValidationError as exc:
        first = exc.errors()[0]
        where = ".".join(map(str, first["loc"])) or "entry"
        raise UserError(f"{path}: accounts[{place}].{where}: {first['msg']}") from exc
    except UserError as exc:
        raise UserError(f"{path}: accounts[{place}].queue.model: {exc}") from exc
