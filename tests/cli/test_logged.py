"""What byoc's parts log is told in byoc's own form."""

from __future__ import annotations

import logging

import pytest

from byoc.cli import logged
from byoc.cli.console import Console


def test_warnings_are_lines_of_ours_told_once(capfd: pytest.CaptureFixture[str]) -> None:
    """A warning of a part of byoc is one line on stderr; what others log is not touched."""
    logger = logging.getLogger("byoc.providers.table")
    with logged.told(Console(environ={})):
        for _ in range(3):
            logger.warning("unclassified answer of %s", "aws")
        logger.info("not worth a line")
    err = capfd.readouterr().err
    assert err == "byoc: warning: unclassified answer of aws\n"


def test_an_exception_is_named(capfd: pytest.CaptureFixture[str]) -> None:
    """A logged exception is told by its kind and text, without a traceback."""
    with logged.told(Console(environ={})):
        try:
            raise ValueError("odd")
        except ValueError:
            logging.getLogger("byoc.fleet").exception("the survey failed")
    assert capfd.readouterr().err == "byoc: warning: the survey failed (ValueError: odd)\n"


def test_the_logger_is_left_as_it_was() -> None:
    """After the command nothing of it stays behind, whatever happened in it."""
    logger = logging.getLogger("byoc")
    before = (list(logger.handlers), logger.propagate)
    with pytest.raises(KeyError), logged.told(Console(environ={})):
        raise KeyError
    assert (list(logger.handlers), logger.propagate) == before
