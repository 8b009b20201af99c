"""A program with a secret: one call that uses it, and one that fails while it holds it."""

import os

import byoc

app = byoc.App("canary")
KEYS = byoc.Secret.from_local_environ(["CANARY"])


@app.function(secrets=[KEYS])
def length() -> int:
    """How long the secret is."""
    return len(os.environ["CANARY"])


@app.function(secrets=[KEYS])
def fails() -> None:
    """Holds the secret in a local variable, and fails."""
    token = os.environ["CANARY"]
    raise ValueError(f"a token of {len(token)} letters is refused")


@app.local_entrypoint()
def main() -> None:
    """Use it, and fail with it."""
    print("letters:", length.remote())
    fails.remote()
