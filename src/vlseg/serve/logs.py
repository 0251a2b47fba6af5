"""What the server's log says: no prompts, pixels, file names or tokens."""

import ipaddress
import json
import logging
import re
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from vlseg.serve.access import MAX_HEADER_BYTES
from vlseg.serve.connections import TimedProtocol
from vlseg.serve.limits import Limits

PROMPTS = "vlseg.serve.prompts"
_IDS = re.compile(r"^(/v1/(?:images|models)/)[^/]+")
_KNOWN = re.compile(
    r"/|/(?:healthz|metrics|openapi\.json|docs|favicon\.ico)|/v1/(?:segment|images|models|corrections)"
    r"|/v1/(?:images|models)/-(?:/(?:segment|export|words))?"
)
STATIC = Path(__file__).parent / "static"
"""The page's files."""
_FILES = frozenset(f"/static/{path.name}" for path in STATIC.iterdir())
_RAISED = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


def logged_path(target: str) -> str:
    """A request's target as the log has it: without query, without ids and names, "(other)" for paths that are none."""
    path = _IDS.sub(r"\1-", target.partition("?")[0])
    return path if path in _FILES or _KNOWN.fullmatch(path) else "(other)"


def logged_address(client: str) -> str:
    """Of "address:port"; "(other)" for what is no address: behind a proxy it is what X-Forwarded-For says."""
    host, _, port = client.rpartition(":")
    try:
        return f"{ipaddress.ip_address(host.strip('[]').partition('%')[0])}:{int(port)}"
    except ValueError:
        return "(other)"


class PathOnly(logging.Filter):
    """Of uvicorn's access records: client, method, path as `logged_path`, version, status."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Every record passes."""
        if isinstance(record.args, tuple) and len(record.args) == 5:
            client, method, target, version, status = record.args
            known = method if method in ("GET", "HEAD", "POST", "DELETE", "OPTIONS") else "(other)"
            record.args = (logged_address(str(client)), known, logged_path(str(target)), version, status)
        return True


class PlaceOnly(logging.Formatter):
    """An error as its type and the lines of code that it passed: its message may quote what somebody sent."""

    def formatException(self, ei: _RAISED) -> str:  # noqa: N802 (logging's name)
        """One line a place."""
        lines, error = [], ei[1]
        while error is not None:
            frames = traceback.extract_tb(error.__traceback__)
            lines += [f"  {frame.filename}:{frame.lineno} in {frame.name}" for frame in frames]
            lines.append(type(error).__name__)
            error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        return "\n".join(lines)


def uvicorn_settings(limits: Limits, *, behind_proxy: bool = False, log_prompts: bool = False) -> dict[str, Any]:
    """Arguments of `uvicorn.Config` that the guard relies on.

    Forwarded headers count only behind a proxy: uvicorn's own default believes them from this machine. WebSockets are
    off. Headers may have MAX_HEADER_BYTES and a little. A connection rests 5 s between requests; see `TimedProtocol`.
    Guard and gate count requests: uvicorn's own limit answers with plain text, and counts connections that ask nothing.
    """
    quiet = {"handlers": ["stderr"], "propagate": False}
    return {
        "proxy_headers": behind_proxy,
        "forwarded_allow_ips": "*" if behind_proxy else "",
        "server_header": False,
        "ws": "none",
        "http": TimedProtocol,
        "h11_max_incomplete_event_size": 2 * MAX_HEADER_BYTES,
        "timeout_keep_alive": 5,
        "limit_concurrency": None,
        "log_config": {
            "version": 1,
            "disable_existing_loggers": False,
            "filters": {"path": {"()": PathOnly}},
            "formatters": {"place": {"()": PlaceOnly, "fmt": "%(asctime)s %(levelname)s %(message)s"}},
            "handlers": {
                "stderr": {"class": "logging.StreamHandler", "formatter": "place"},
                "access": {"class": "logging.StreamHandler", "formatter": "place", "filters": ["path"]},
            },
            "loggers": {
                "uvicorn": {**quiet, "level": "INFO"},
                "uvicorn.access": {"handlers": ["access"], "propagate": False, "level": "INFO"},
                "asyncio": {**quiet, "level": "WARNING"},
                "python_multipart": {**quiet, "level": "CRITICAL"},  # names characters of broken forms
                "vlseg.serve": {**quiet, "level": "INFO"},
                PROMPTS: {**quiet, "level": "INFO" if log_prompts else "CRITICAL"},
            },
        },
    }


def log_prompts(session: str, prompts: Sequence[str]) -> None:
    """Write the prompts into the log, where `uvicorn_settings(log_prompts=True)` asked for it; else nothing."""
    logging.getLogger(PROMPTS).info("session %s: %s", session[:8], json.dumps(list(prompts), ensure_ascii=True))
