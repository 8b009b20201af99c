"""``Retries``: how often and when a failed attempt is made again."""

from __future__ import annotations

from ..engine.spec import RetryPolicy
from .params import number


class Retries:
    """``max_retries`` more attempts per input. The first pause is ``initial_delay`` seconds (0 to
    60), each next one ``backoff_coefficient`` (1 to 10) times longer, up to ``max_delay`` (1 to
    60). Raises InvalidError outside these ranges, Modal's."""

    def __init__(
        self,
        *,
        max_retries: int,
        backoff_coefficient: float = 2.0,
        initial_delay: float = 1.0,
        max_delay: float = 60.0,
    ) -> None:
        self.policy = RetryPolicy(
            int(number("Retries", "max_retries", max_retries, 0, whole=True)),
            number("Retries", "initial_delay", initial_delay, 0, 60),
            number("Retries", "backoff_coefficient", backoff_coefficient, 1, 10),
            number("Retries", "max_delay", max_delay, 1, 60),
        )

    def __repr__(self) -> str:
        return f"Retries({self.policy})"
