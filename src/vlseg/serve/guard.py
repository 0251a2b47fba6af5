"""Who may ask: token and session, Host and Origin, sizes and times of requests, headers of answers."""

from dataclasses import dataclass
from typing import Any

from vlseg.serve.limits import Limits

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True)
class Access:
    """Who may ask.

    Attributes:
        token: 20 to 256 letters, digits, and -_.~
        hosts: names that the server is asked by, without port.
        origins: further origins of pages that may ask ("https://seg.example.org"); the server's own is always one.
        secure: the browser speaks TLS, with the server or with the proxy before it.
    """

    token: str
    hosts: frozenset[str] = LOOPBACK
    origins: frozenset[str] = frozenset()
    secure: bool = False


def check_binding(host: str, tls: bool, behind_proxy: bool) -> None:
    """Raises: InputError: a host that other machines reach, without TLS and not behind a proxy."""
    raise NotImplementedError


class Guard:
    """ASGI middleware before everything; after it `scope["state"]["session"]` is an opaque id."""

    def __init__(self, app: Any, access: Access, limits: Limits = Limits()) -> None:
        self.app, self.access, self.limits = app, access, limits
