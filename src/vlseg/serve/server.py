"""`vlseg serve`: everything that can be known is checked before a model is loaded, then uvicorn runs the app."""

import secrets
import signal
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import uvicorn

from vlseg.evaluation import Predictor, load
from vlseg.models.device import check_precision, resolve_device, take_gpu
from vlseg.models.exported.kept import check_engine
from vlseg.models.manifest import default_weights, published_at
from vlseg.records import InputError, from_system
from vlseg.serve.access import LOOPBACK, Access, check_binding
from vlseg.serve.app import create_app
from vlseg.serve.corrections import check_corrections
from vlseg.serve.gate import Crowd
from vlseg.serve.limits import Limits
from vlseg.serve.logs import uvicorn_settings
from vlseg.serve.sources import named_sources

ANY_HOST = frozenset({"0.0.0.0", "::"})


@dataclass(frozen=True)
class Settings:
    """How a server is reached, and what it keeps; as the options of `vlseg serve`."""

    host: str = "127.0.0.1"
    port: int = 8000
    token_file: Path | None = None
    corrections: Path | None = None
    behind_proxy: bool = False
    certificate: Path | None = None
    key: Path | None = None
    allow_hosts: tuple[str, ...] = ()
    log_prompts: bool = False


def serve(
    sources: Sequence[str], settings: Settings, options: Mapping[str, Any], ready: Callable[[str, list[str]], None]
) -> None:
    """Serves until it is told to stop; running requests are finished first.

    Args:
        sources: run folders, model folders, hub ids or model names, each as it is or as NAME=SOURCE.
        settings: how the server is reached.
        options: of `vlseg.evaluation.load`.
        ready: told the address with the token and the models' names once requests are answered.

    Raises:
        InputError: anything that is wrong, before a model is loaded where it can be known.
    """
    named = named_sources(sources)
    tls = _certificate(settings.certificate, settings.key)
    check_binding(settings.host, tls, settings.behind_proxy)
    access = _access(settings, tls)
    if settings.corrections is not None:
        check_corrections(settings.corrections)
    check_engine(options.get("engine"), options.get("device", "auto"), options.get("precision", "fp32"))
    check_precision(options.get("precision", "fp32"), resolve_device(options.get("device", "auto")))
    listening = _listen(settings.host, settings.port)
    with listening:
        models = {name: copies_of(name, source, options) for name, source in named.items()}
        limits = Limits()
        app = create_app(
            models,
            access=access,
            limits=limits,
            corrections=settings.corrections,
            licences={name: licence for name, source in named.items() if (licence := licence_of(source))},
        )
        config = uvicorn.Config(
            app,
            **{
                "ssl_certfile": settings.certificate,
                "ssl_keyfile": settings.key,
                "timeout_graceful_shutdown": int(limits.seconds) + 5,
                **uvicorn_settings(limits, behind_proxy=settings.behind_proxy, log_prompts=settings.log_prompts),
            },
        )
        address = _address(settings, tls, listening.getsockname()[1])
        told = f"{address}/?token={access.token}"
        server = _Server(config, app.state.serving.crowd, lambda: ready(told, list(models)))
        if threading.current_thread() is not threading.main_thread():
            server.run(sockets=[listening])
            return
        # Told to stop it stops, and that is no failure: uvicorn raises the signal again once all is finished.
        before = signal.signal(signal.SIGTERM, lambda *_: None)
        try:
            server.run(sockets=[listening])
        finally:
            signal.signal(signal.SIGTERM, before)


class _Server(uvicorn.Server):
    """Says when it answers, and refuses new requests from the moment that it is told to stop."""

    def __init__(self, config: uvicorn.Config, crowd: Crowd, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self.crowd, self.ready = crowd, ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's own."""
        await super().startup(sockets)
        if self.started:
            self.ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's own."""
        self.crowd.closed = True
        await super().shutdown(sockets)


def _certificate(certificate: Path | None, key: Path | None) -> bool:
    """Whether TLS is spoken."""
    if certificate is None and key is None:
        return False
    if certificate is None or key is None:
        raise InputError("--certificate: needs --key, and --key needs it; give both PEM files")
    for option, path in (("--certificate", certificate), ("--key", key)):
        try:
            path.read_bytes()
        except OSError as error:
            raise InputError(f"{option}: {from_system(error, str(path))}; give a PEM file that can be read") from error
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=lambda: "")
    except (ssl.SSLError, OSError, ValueError) as error:
        told = getattr(error, "reason", None) or error
        raise InputError(
            f"--certificate: {certificate} and {key} are no certificate and its key without password ({told}); "
            "give PEM files that belong together"
        ) from error
    return True


def _access(settings: Settings, tls: bool) -> Access:
    host = settings.host
    names = {name.lower() for name in settings.allow_hosts} | ({host.lower()} if host not in ANY_HOST else set())
    if not names:
        raise InputError(
            f"--allow-host: with --host {host} say by which name clients ask, e.g. --allow-host {socket.gethostname()}"
        )
    secure = tls or settings.behind_proxy
    if settings.token_file is None:
        return Access(secrets.token_urlsafe(32), hosts=LOOPBACK | names, secure=secure)
    token = _token(settings.token_file)
    try:
        return Access(token, hosts=LOOPBACK | names, secure=secure)
    except InputError as error:
        raise InputError(f"--token-file: {settings.token_file}: {error}") from error


def _token(path: Path) -> str:
    try:
        token = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise InputError(f"--token-file: {from_system(error, str(path))}; give a file that holds a token") from error
    except UnicodeDecodeError as error:
        raise InputError(f"--token-file: {path} is no text; write a token into it") from error
    if path.stat().st_mode & 0o077:
        print(f"--token-file: others on this machine can read {path}; chmod 600 it", file=sys.stderr)
    return token


def _listen(host: str, port: int) -> socket.socket:
    """Taken before a model is loaded: two servers on one port are found out at once."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise InputError(f"--host: {host} is no address of this machine ({error.strerror}); try 127.0.0.1") from error
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(128)
    except OSError as error:
        listening.close()
        raise InputError(f"--port: {port} on {host} cannot be used ({error.strerror}); give another") from error
    return listening


def copies_of(name: str, source: str, options: Mapping[str, Any]) -> list[Predictor]:
    """The model, on each of the GPUs where there are several."""
    print(f"loading {name}", file=sys.stderr)
    gpus = torch.cuda.device_count() if resolve_device(options.get("device", "auto")).type == "cuda" else 1
    if gpus == 1:
        return [_loaded(source, options)]
    found: list[Predictor] = []
    try:
        for number in range(gpus):
            take_gpu(number)
            found.append(_loaded(source, options))
            if found[0].device.type != "cuda":  # exported: it computes on the processor whatever else is here
                break
    finally:
        take_gpu(None)
        torch.cuda.set_device(0)
    return found


def _loaded(source: str, options: Mapping[str, Any]) -> Predictor:
    predictor = load(source, **options)
    spec = predictor.model.spec
    grey = np.full((64, 64, 3), 128, dtype=np.uint8)
    (answer,) = predictor.segment(grey, ["polyp" if spec.uses_text else spec.targets[0]])
    if np.isnan(answer.probability).any():
        raise InputError(f"{source}: its answers are no numbers; do the weights hold NaN?")
    predictor.judge(grey)
    return predictor


def licence_of(source: str) -> str | None:
    """Of published weights, where it is known."""
    found = published_at(default_weights(source) or source)
    return found.licence if found else None


def _address(settings: Settings, tls: bool, port: int) -> str:
    """As a browser asks for it."""
    name = settings.allow_hosts[0] if settings.allow_hosts else settings.host
    if settings.behind_proxy:
        return f"https://{name}"
    return f"{'https' if tls else 'http'}://{f'[{name}]' if ':' in name else name}:{port}"
