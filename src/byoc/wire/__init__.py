"""The protocol between client and agent: frames, reliable streams, messages.

Standard library only, CPython 3.8+. Nothing here does I/O, so that both ends and the tests drive
the same code. ``VERSION`` changes when the two ends could misunderstand each other.
"""

VERSION = 1
