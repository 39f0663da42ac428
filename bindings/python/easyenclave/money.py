"""Money: exact dollars. Not for prices of anything but credits; reading text is C's, so that all languages refuse the same."""
from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Union

_MICROS = 1_000_000


@dataclass(frozen=True, order=True)
class Money:
    """An exact amount of US dollars, in millionths. Money.parse("$200") reads text; there is no way from a float."""

    micros: int

    def __post_init__(self) -> None:
        if type(self.micros) is not int or not -(2**63) <= self.micros < 2**63:
            from .errors import InvalidAmountError

            raise InvalidAmountError(f"Money takes whole millionths of a dollar, not {self.micros!r}", hint='use Money.parse("$200")')

    @classmethod
    def parse(cls, text: str) -> Money:
        """ "$200", "200", "200.50 USD". InvalidAmountError says what is wrong with other text, and where."""
        from . import _calls

        return cls(_calls.parse_money(text))

    @property
    def usd(self) -> Decimal:
        """Dollars, exactly."""
        sign, digits, _ = Decimal(self.micros).as_tuple()
        return Decimal((sign, digits, -6))  # arithmetic would round to the caller's precision

    def __str__(self) -> str:
        whole, part = divmod(abs(self.micros), _MICROS)
        digits = f"{part:06d}".rstrip("0").ljust(2, "0")
        return f"{'-' if self.micros < 0 else ''}${whole}.{digits}"


Amount = Union[str, Decimal, Money]
"""How amounts are given: "$200", Decimal("200"), Money(200_000_000). Never a float or an int: dollars or cents?"""


def amount_text(amount: Amount) -> str:
    """The amount as text for C, which judges it; other types are refused here."""
    from .errors import InvalidAmountError

    if isinstance(amount, str):
        return amount
    if isinstance(amount, Money):
        return str(amount)
    if isinstance(amount, Decimal):
        if not amount.is_finite():
            raise InvalidAmountError(f"the amount is {amount}, which is not a number of dollars")
        return format(amount, "f")
    raise InvalidAmountError(
        f"the amount is {amount!r} ({type(amount).__name__}): dollars or cents, and is it exact?", hint='write it as text, "$200", or as Decimal or Money'
    )
