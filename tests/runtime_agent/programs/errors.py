"""Functions that raise, in every nasty way."""

from __future__ import annotations

import threading


class Own(Exception):
    """Its constructor takes other things than its args."""

    def __init__(self, code, *, reason):
        super().__init__(f"code {code}: {reason}")
        self.code = code
        self.reason = reason


class Doubling(Exception):
    """Its constructor takes its args for something else."""

    def __init__(self, name):
        super().__init__("no such thing: " + name)
        self.name = name


class Grown(Exception):
    def __init__(self, *args):
        super().__init__(*args)
        self.lock = threading.Lock()


class Silent(Exception):
    def __str__(self):
        raise ValueError("str is broken")

    __repr__ = __str__


class Deadly(Exception):
    def __str__(self):
        raise SystemExit(4)


class Lying(Exception):
    def __reduce__(self):
        return dict, ()


class Raising(Exception):
    def __reduce__(self):
        raise RuntimeError("reduce is broken")


class Stop(BaseException):
    """Not an Exception."""


class Leave(SystemExit):
    pass


def own():
    raise Own(7, reason="because")


def doubling():
    raise Doubling("spoon")


def attributes():
    error = ValueError("plain", 3)
    error.data = {"a": [1, 2]}
    raise error


def grown():
    raise Grown("x", 1)


def silent():
    raise Silent("hidden")


def deadly():
    raise Deadly("hidden")


def lying():
    raise Lying("truth")


def raising():
    raise Raising("truth")


def local():
    class Hidden(Exception):
        pass

    raise Hidden("from inside")


def closure():
    error = RuntimeError("with a function")
    error.call = lambda: 42
    raise error


def deep(n=0):
    return deep(n + 1) + 1


def exits(code):
    raise SystemExit(code)


def leaves():
    raise Leave(2)


def interrupted():
    raise KeyboardInterrupt


def closed():
    raise GeneratorExit


def cancelled():
    import asyncio

    raise asyncio.CancelledError("who")


def stopped():
    raise Stop("bare")


def chained():
    try:
        {}["missing"]
    except KeyError as error:
        raise ValueError("outer") from error


def circular():
    error = ValueError("round")
    other = KeyError("and round")
    error.__cause__ = other
    other.__cause__ = error
    raise error


def long_chain():
    error = None
    for i in range(3000):
        following = ValueError(i)
        following.__context__ = error
        error = following
    raise error


def system():
    open("/no/such/file")  # noqa: SIM115


def decode():
    b"\xff".decode()


def lookup():
    {}["key"]


def noted():
    error = TypeError("with notes")
    error.__notes__ = ["first note", "second note"]
    raise error


def grouped():
    raise ExceptionGroup("several", [ValueError(1), Own(2, reason="two")])  # noqa: F821


def grouped_plain():
    raise ExceptionGroup("several", [ValueError(1), KeyError("k")])  # noqa: F821


def grouped_base():
    raise BaseExceptionGroup("several", [KeyboardInterrupt()])  # noqa: F821


def huge():
    raise ValueError("x" * 3_000_000)


def surrogates():
    raise ValueError("\ud800 and \0")


def locks():
    return threading.Lock()


def returns_broken():
    return Broken()


class Broken:
    def __reduce__(self):
        raise ZeroDivisionError("pickling runs this")


class Trap:
    """Unpickles nowhere."""

    def __reduce__(self):
        return int, ("not a number",)


def returns_trap():
    return Trap()


def items_then_lock(n):
    yield from range(n)
    yield threading.Lock()
