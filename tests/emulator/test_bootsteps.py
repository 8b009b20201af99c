"""Boot data becomes steps; and words of ``shutdown`` become times."""

from __future__ import annotations

import base64
import calendar
import gzip
import time
from typing import Any

import pytest

from byoc.emulator.machine import bootsteps
from byoc.emulator.machine.guest import power


def steps(user_data: str, *keys: str) -> list[dict[str, Any]]:
    """Of a machine called ``m``."""
    return bootsteps.steps(user_data, keys, "m", "")


def said(found: list[dict[str, Any]]) -> list[str]:
    """What is told on the console."""
    return [step["text"] for step in found if step["do"] == "say"]


def test_scripts_run_after_people_are_let_in() -> None:
    """bootcmd before SSH, then late files, scripts and runcmd, as the final stage has them."""
    text = "#cloud-config\nbootcmd: [a]\nruncmd: [b]\nwrite_files: [{path: /x, defer: true}]\n"
    found = [step.get("label") or step["do"] for step in steps(text)]
    assert found.index("bootcmd") < found.index("open") < found.index("runcmd")
    late = found[found.index("open") :]
    assert late == ["open", "file", "runcmd"]


def test_all_commands_are_one_script() -> None:
    """Variables live on from one to the next, and lists are quoted."""
    [script] = [
        step["text"]
        for step in steps("#cloud-config\nruncmd:\n- X=1\n- [echo, a b, $X]\n- echo $X\n")
        if step.get("label") == "runcmd"
    ]
    assert script == "#!/bin/sh\nX=1\necho 'a b' '$X'\necho $X\n"


@pytest.mark.parametrize(
    ("encoding", "content"),
    [
        ("", "hello"),
        ("text/plain", "hello"),
        ("b64", base64.b64encode(b"hello").decode()),
        ("base64", base64.b64encode(b"hello").decode()),
        ("gz+b64", base64.b64encode(gzip.compress(b"hello", mtime=0)).decode()),
        ("gzip+base64", base64.b64encode(gzip.compress(b"hello", mtime=0)).decode()),
    ],
)
def test_files_may_be_encoded(encoding: str, content: str) -> None:
    """In each way that cloud-init knows."""
    text = (
        f"#cloud-config\nwrite_files: [{{path: /f, encoding: '{encoding}', content: '{content}'}}]"
    )
    [step] = [step for step in steps(text) if step.get("path") == "/f"]
    assert base64.b64decode(step["content"]) == b"hello" and step["mode"] == 0o644


def test_root_is_shut_unless_it_is_opened() -> None:
    """As on the clouds' images: the default user gets the keys, root a refusal with them."""
    both = [step for step in steps("", "ssh-ed25519 KEY") if step["do"] == "authorize"]
    assert [(step["user"], step["lines"][0][:12]) for step in both] == [
        ("ubuntu", "ssh-ed25519 "),
        ("root", "no-port-forw"),
    ]
    text = "#cloud-config\ndisable_root: false\nusers: []\nssh_authorized_keys: [mine]\n"
    [only] = [step for step in steps(text, "cloud's") if step["do"] == "authorize"]
    assert (only["user"], only["lines"]) == ("root", ["cloud's", "mine"])


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("hello", "Unhandled non-multipart"),
        ("#cloud-config\n[1, 2]", "a cloud-config is a mapping"),
        ("#cloud-config\nruncmd: 3", "runcmd: expected list"),
        ("#cloud-config\nruncmd: [{}]", "neither a text nor a list"),
        ("#cloud-config\nusers: [{gecos: x}]", "has no name"),
        (
            "#cloud-config\nwrite_files: [{path: /x, encoding: b64, content: '!'}]",
            "write_files: /x",
        ),
        ("#cloud-config\nwrite_files: [{path: /x, encoding: rot13}]", "'rot13' is not known"),
        ("#cloud-config\npackages: [gcc]", "'packages' is not emulated"),
    ],
)
def test_what_is_not_done_is_said(text: str, note: str) -> None:
    """On the console, so that a rehearsal does not pass over it; the rest is done."""
    found = steps(text)
    assert any(note in line for line in said(found))
    assert {"do": "open"} in found


def test_a_later_boot_runs_bootcmd_only() -> None:
    """The disk has the rest already."""
    found = bootsteps.again(steps("#cloud-config\nbootcmd: [a]\nruncmd: [b]\nusers: [kim]\n"))
    assert [step.get("label") or step["do"] for step in found] == ["bootcmd", "hostname", "open"]


NOON = calendar.timegm((2026, 1, 15, 12, 0, 0)) + time.timezone


@pytest.mark.parametrize(
    ("words", "action", "seconds"),
    [
        ("shutdown -h now", "off", 0),
        ("shutdown -P +5 going down", "off", 300),
        ("shutdown", "off", 60),
        ("shutdown -r 2", "restart", 120),
        ("shutdown 12:30", "off", 1800),
        ("shutdown -c", "cancel", 0),
        ("shutdown -k now", "", 0),
        ("poweroff -f", "off", 0),
        ("halt", "off", 0),
        ("reboot", "restart", 0),
        ("systemctl --force poweroff", "off", 0),
        ("systemctl status", "", 0),
        ("telinit 0", "off", 0),
        ("init 6", "restart", 0),
        ("init q", "", 0),
    ],
)
def test_words_of_power_are_understood(words: str, action: str, seconds: float) -> None:
    """What each command asks for, and when."""
    assert power.understood(words.split(), NOON) == (action, seconds)
