"""Who may ask: token, cookie, Host and Origin. Pure functions of a request's headers."""

import hashlib
import hmac
import ipaddress
import re
import secrets
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from vlseg.records import InputError
from vlseg.serve.limits import Refused

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
SINGLE = frozenset(
    {
        b"authorization",
        b"content-length",
        b"content-type",
        b"cookie",
        b"host",
        b"origin",
        b"sec-fetch-mode",
        b"sec-fetch-site",
        b"transfer-encoding",
        b"vlseg-session",
    }
)
"""Headers that stand once: of two, one server reads the first and another the second."""
MAX_HEADERS, MAX_HEADER_BYTES = 64, 16 * 2**10
_TOKEN = re.compile(r"[A-Za-z0-9._~-]{20,256}")
OWN_SESSION = re.compile(r"^[A-Za-z0-9_-]{1,128}$")
_COOKIE = re.compile(r"([A-Za-z0-9_-]{22})\.([1-9][0-9]{0,11})\.([0-9a-f]{64})")


@dataclass(frozen=True)
class Access:
    """Who may ask.

    Attributes:
        token: 20 to 256 letters, digits, and -._~
        hosts: names that the server is asked by, without port, in lower case.
        origins: further origins of pages that may ask ("https://seg.example.org"); the server's own is always one.
        secure: the browser speaks TLS, with the server or with the proxy before it.

    Raises:
        InputError: another token, no hosts, or origins that are none.
    """

    token: str
    hosts: frozenset[str] = LOOPBACK
    origins: frozenset[str] = frozenset()
    secure: bool = False

    def __post_init__(self) -> None:
        if not _TOKEN.fullmatch(self.token):
            raise InputError(
                "token: must be 20 to 256 letters, digits and -._~ (python -c 'import secrets; "
                "print(secrets.token_urlsafe(32))' makes one)"
            )
        for host in self.hosts or ("",):
            if _name(host) != host or not host:
                raise InputError(f"host '{host}': give a name or address in lower case, without scheme and port")
        for origin in self.origins:
            if not re.fullmatch(r"https?://[^/?#@\s]+", origin):
                raise InputError(f"origin '{origin}': give scheme and host, as https://seg.example.org")


def check_binding(host: str, tls: bool, behind_proxy: bool) -> None:
    """Raises: InputError: a host that other machines reach, without TLS and not behind a proxy."""
    if tls or behind_proxy or host == "localhost":
        return
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise InputError(
            f"--host: {host or 'every address'} is reached by other machines, and what is sent can be read on the way; "
            "give --certificate and --key, or --behind-proxy where a proxy speaks TLS, or leave --host out"
        )


def headers_of(scope: Mapping[str, Any]) -> dict[bytes, bytes]:
    """The headers by lower-case name.

    Raises:
        Refused: 400: too many, or two of a kind that stands once, or a length and pieces at once.
    """
    given: Iterable[tuple[bytes, bytes]] = scope["headers"]
    pairs = [(name.lower(), value) for name, value in given]
    if len(pairs) > MAX_HEADERS or sum(len(name) + len(value) for name, value in pairs) > MAX_HEADER_BYTES:
        line = f"headers: over {MAX_HEADERS}, or over {MAX_HEADER_BYTES} bytes; send fewer"
        raise Refused(400, "headers_too_large", line)
    headers: dict[bytes, bytes] = {}
    for name, value in pairs:
        if name in headers and name in SINGLE:
            raise Refused(400, "header_twice", f"header {name.decode()}: stands twice; send it once")
        headers[name] = value
    if b"content-length" in headers and b"transfer-encoding" in headers:
        raise Refused(400, "length_unclear", "header content-length: not together with transfer-encoding; send one")
    return headers


def check_host(headers: Mapping[bytes, bytes], access: Access) -> None:
    """A page of any other name cannot ask, also where that name leads to this machine (DNS rebinding).

    Raises:
        Refused: 400 without Host, 403 for a name that is not the server's.
    """
    if b"host" not in headers:
        raise Refused(400, "host_missing", "header host: is missing; send the server's name")
    if _name(headers[b"host"].decode("latin-1").lower()) not in access.hosts:
        raise Refused(
            403, "host_not_allowed", "header host: is none of this server's names; ask by the address that it printed"
        )


def _name(host: str) -> str | None:
    """The name of "name:port" or "[address]:port"; None for anything else."""
    found = re.fullmatch(
        r"\[([0-9a-f:.]+)\](?::[0-9]{1,5})?|([a-z0-9._-]+)(?::[0-9]{1,5})?|([0-9a-f]*:[0-9a-f]*:[0-9a-f:.]*)", host
    )
    return next(part for part in found.groups() if part) if found else None


def check_origin(headers: Mapping[bytes, bytes], access: Access) -> None:
    """Raises: Refused: 403 for a page of another origin, also one of another port of the same machine."""
    if b"origin" not in headers:
        return
    scheme = "https" if access.secure else "http"
    own = f"{scheme}://{headers[b'host'].decode('latin-1').lower()}"
    if headers[b"origin"].decode("latin-1").lower() not in access.origins | {own}:
        raise Refused(403, "origin_not_allowed", "header origin: is another page's; use this server's own page")


def check_page(method: str, headers: Mapping[bytes, bytes]) -> None:
    """Of a request with a cookie, that a page of this server makes it; browsers send cookies for others' pages too.

    Raises:
        Refused: 403: a change without Origin, or anything but an opened address that another site's page asks for.
    """
    if method not in ("GET", "HEAD") and b"origin" not in headers:
        raise Refused(
            403, "origin_missing", "header origin: is missing; programs send Authorization: Bearer in place of a cookie"
        )
    site, opened = headers.get(b"sec-fetch-site"), headers.get(b"sec-fetch-mode") == b"navigate"
    if site in (b"cross-site", b"same-site") and not (opened and method in ("GET", "HEAD")):
        raise Refused(403, "origin_not_allowed", "header sec-fetch-site: another page asks; use this server's own page")


def token_in(query: bytes) -> str | None:
    """The token in an address, or None."""
    values = parse_qs(query.decode("latin-1"), max_num_fields=16).get("token", []) if query.count(b"&") < 16 else []
    return values[0] if len(values) == 1 else None


def is_token(given: str | bytes, access: Access) -> bool:
    """In constant time."""
    sent = given if isinstance(given, bytes) else given.encode("utf-8", "replace")
    return hmac.compare_digest(sent, access.token.encode())


def program_session(headers: Mapping[bytes, bytes], access: Access) -> str | None:
    """The session of a request with the right token in its header; None without that header.

    Raises:
        Refused: 401 for a wrong token, 400 for an odd Vlseg-Session.
    """
    sent = headers.get(b"authorization")
    if sent is None:
        return None
    scheme, _, token = sent.partition(b" ")
    if scheme.lower() != b"bearer" or not is_token(token.strip(), access):
        raise Refused(401, "token_wrong", "header authorization: must be Bearer and the token that the server printed")
    own = headers.get(b"vlseg-session", b"default")
    if not OWN_SESSION.fullmatch(own.decode("latin-1")):
        line = "header vlseg-session: give 1 to 128 letters, digits, - and _, at random"
        raise Refused(400, "session_invalid", line)
    return _session(b"program " + own)


def cookie_name(scope: Mapping[str, Any], access: Access) -> str:
    """By the server's port, as browsers send a cookie to every port of a host; under TLS for this host alone."""
    server = scope.get("server")
    port = f"_{server[1]}" if server and server[1] else ""
    return ("__Host-" if access.secure else "") + f"vlseg_session{port}"


def new_cookie(name: str, access: Access, seconds: float, now: float | None = None) -> str:
    """The value of Set-Cookie for a new session. It names the session and its end, signed; nothing is kept here."""
    value, end = secrets.token_urlsafe(16), int((time.time() if now is None else now) + seconds)
    signed = f"{name}={value}.{end}.{_signature(value, end, access)}; Path=/; HttpOnly; SameSite=Strict"
    return signed + "; Secure" * access.secure


def page_session(
    scope: Mapping[str, Any], headers: Mapping[bytes, bytes], access: Access, now: float | None = None
) -> str | None:
    """The session of a request with a cookie of this server that has not ended; else None.

    Other servers on the host can add cookies of the same name: what this one did not sign does not count, and of two
    that it signed none does.
    """
    wanted = cookie_name(scope, access)
    pairs = [part.strip().partition("=") for part in headers.get(b"cookie", b"").decode("latin-1").split(";")]
    moment = time.time() if now is None else now
    values = {_signed(value, moment, access) for name, _, value in pairs if name == wanted}
    sessions = [value for value in values if value is not None]
    return _session(b"page " + sessions[0].encode()) if len(sessions) == 1 else None


def _signed(cookie: str, now: float, access: Access) -> str | None:
    """The session's part of a cookie that this server signed and that has not ended."""
    found = _COOKIE.fullmatch(cookie)
    if found is None:
        return None
    value, end, signature = found.groups()
    fits = hmac.compare_digest(signature, _signature(value, int(end), access))
    return value if fits and int(end) > now else None


def _signature(value: str, end: int, access: Access) -> str:
    return hmac.new(access.token.encode(), f"vlseg session {value} {end}".encode(), hashlib.sha256).hexdigest()


def _session(named: bytes) -> str:
    """Not what was sent, so that an id in a message or a dump opens nothing."""
    return hashlib.sha256(named).hexdigest()[:32]
