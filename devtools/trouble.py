"""What can go wrong on a machine that is not ours, each in one sentence. Standard library only."""

from __future__ import annotations

import errno
import re

NO_NETWORK = (
    "could not resolve host",
    "name resolution",
    "name or service not known",
    "failed to establish a new connection",
    "network is unreachable",
    "connection refused",
    "connection timed out",
    "no matching distribution found",
    "could not connect",
    "proxyerror",
)
"""How pip and git say that they reached nobody; pip without a network knows no version of a package."""


DISK_FULL, OFFLINE = "the disk is full", "there is no network"
ADVICE = {DISK_FULL: "Free some space", OFFLINE: "Connect to a network once"}
"""What helps against a reason."""


class TroubleError(RuntimeError):
    """A command cannot go on for a reason that lies in the machine; the message is one sentence or two, and all that
    is shown."""


def reason_in(output: str) -> str:
    """Find out why a program failed from what it printed.

    Args:
        output: of pip, git or comfy-cli.

    Returns:
        Some words, without a full stop.

    >>> reason_in("fatal: unable to access 'https://x/': Could not resolve host: x")
    'there is no network'
    >>> reason_in("OSError: [Errno 28] No space left on device")
    'the disk is full'
    >>> reason_in("Working\\nERROR: it has a reason of its own.\\n")
    'it has a reason of its own'
    """
    lowered = output.lower()
    if "no space left" in lowered or "disk quota exceeded" in lowered or "not enough space" in lowered:
        return DISK_FULL
    if any(words in lowered for words in NO_NETWORK):
        return OFFLINE
    lines = [line.strip() for line in output.splitlines() if line.strip() and "ResolutionImpossible" not in line]
    told = [line for line in lines if re.match(r"(error|fatal)\b", line, re.IGNORECASE)] or lines or ["it did not say"]
    return re.sub(r"^(error|fatal):\s*", "", told[-1], flags=re.IGNORECASE).rstrip(".")


def sentence_of(error: OSError) -> str | None:
    """Say what an error of the operating system means for the user, where it is the machine's trouble.

    >>> sentence_of(OSError(errno.ENOSPC, "No space left on device", "there"))
    'The disk is full: there could not be written. Free some space, and run it again.'
    >>> sentence_of(OSError(errno.ENOSPC, "No space left on device", "here", None, "there"))
    'The disk is full: there could not be written. Free some space, and run it again.'
    >>> sentence_of(OSError(errno.EIO, "broken"))
    """
    if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", -1)):
        what = error.filename2 or error.filename or "a file"  # the second is where a copy was to go
        return f"The disk is full: {what} could not be written. Free some space, and run it again."
    if error.errno in (errno.EROFS, errno.EACCES) and error.filename:
        return f"{error.filename} may not be written. Set SCENESCOPE_CACHE to a folder that may, and run it again."
    return None
