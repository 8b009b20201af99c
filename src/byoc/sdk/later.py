"""What Modal has and this version refuses by name, in one sentence, before anything is rented."""

from __future__ import annotations

from typing import Any, NoReturn

from ..errors import MissingNameError, NotYetError


class Later:
    """A documented method or property that later work brings, whatever is done with it."""

    def __init__(self, hint: str = "") -> None:
        self._hint = hint
        self._name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = f"{owner.__name__}.{name}"

    def named(self, name: str) -> Later:
        """Itself, where it is no class's attribute."""
        self._name = name
        return self

    def __call__(self, *args: object, **kwargs: object) -> Any:
        self.refuse()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        if name == "aio":
            return self
        raise MissingNameError(_sentence(f"{self._name}.{name}"), hints=self._hints)

    @property
    def _hints(self) -> tuple[str, ...]:
        return (self._hint,) if self._hint else ()

    def refuse(self) -> NoReturn:
        """Raises NotYetError."""
        raise NotYetError(_sentence(self._name), hints=self._hints)


def _sentence(name: str) -> str:
    return f"{name} is not available in this version of byoc"
