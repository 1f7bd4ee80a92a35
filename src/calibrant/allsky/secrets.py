"""The password of a telescope: from the environment or a prompt, never from an option, never into a file or a log."""

from __future__ import annotations

import os
import sys

from calibrant.errors import ParameterError

VARIABLES = ("CALIBRANT_TART_PASSWORD", "TART_LOGIN_PW")


def password(url: str) -> str:
    """The password for a telescope's API; ParameterError where neither environment nor terminal has one."""
    for name in VARIABLES:
        if os.environ.get(name):
            return os.environ[name]
    if not sys.stdin or not sys.stdin.isatty():
        raise ParameterError(
            f"no password for {url}: set {VARIABLES[0]} in the environment (or {VARIABLES[1]}), or run this in a "
            "terminal, which is asked"
        )
    import getpass

    return getpass.getpass(f"Password of {url}: ")
