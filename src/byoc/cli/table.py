"""Every command of ``byoc``: its name, where its function is and its line in ``byoc --help``.

Help and completion of names read this table only; a command's module is imported when the command
is invoked (or its own help or options are asked for). That keeps ``byoc ps`` from paying for
``byoc run``.
"""

from __future__ import annotations

COMMANDS: dict[str, tuple[str, str]] = {
    "run": ("byoc.cli.commands.run:run", "Run a Python file, or a function in it, on an instance"),
    "exec": ("byoc.cli.commands.exec:exec_", "Run a command on an instance, in a copy of here"),
    "plan": ("byoc.cli.commands.plan:plan", "Make a plan of a run: where, and at what price"),
    "apply": ("byoc.cli.commands.apply:apply", "Run what a plan approved, and nothing else"),
    "ps": ("byoc.cli.commands.ps:ps", "List instances and what they run"),
    "logs": ("byoc.cli.commands.logs:logs", "Print what a run has printed"),
    "down": ("byoc.cli.commands.down:down", "End instances, or cancel runs"),
    "audit": ("byoc.cli.commands.audit:audit", "List all that byoc has in any cloud, and its cost"),
    "reap": ("byoc.cli.commands.reap:reap", "End what nobody uses any more, wherever it is"),
    "ssh": ("byoc.cli.commands.ssh:ssh", "Open a shell, or run a command, on a live instance"),
    "why": ("byoc.cli.commands.why:why", "Explain where a run went, and what was refused"),
    "gpus": ("byoc.cli.commands.gpus:gpus", "Show what each GPU costs where"),
    "prices": ("byoc.cli.commands.prices:prices", "Show how old prices are, or ask for today's"),
    "capacity": ("byoc.cli.commands.capacity:capacity", "Show where a GPU may be had now"),
    "check": ("byoc.cli.commands.check:check", "Check that the configured clouds can be used"),
    "iam": ("byoc.cli.commands.iam:iam", "Print the least policy that byoc needs on a cloud"),
    "config": ("byoc.cli.commands.config:config", "Show the settings and where each comes from"),
    "emulate": ("byoc.cli.commands.emulate:emulate", "Run a command against emulated clouds"),
}

LATER: dict[str, str] = {
    "app": "byoc ps lists what runs, byoc logs prints its output, byoc down ends it",
    "container": "byoc ps lists what runs, byoc ssh opens a shell there",
    "deploy": "byoc run --detach goes on without this terminal",
    "dict": "",
    "environment": "",
    "image": "",
    "queue": "",
    "secret": "use Secret.from_local_environ or Secret.from_dotenv in the program",
    "serve": "",
    "shell": "byoc ssh opens a shell on a live instance",
    "token": "",
    "volume": "",
}
"""Commands that Modal has and this version lacks, and what to use instead."""
