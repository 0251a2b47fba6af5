"""`vlseg mcp`: the tools over the Model Context Protocol on standard input and output."""

import asyncio
import base64
import json
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mcp_types as protocol
import pydantic
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from pydantic import BaseModel

from vlseg import __version__
from vlseg.records import InputError, from_validation
from vlseg.serve.agent_files import Folders, open_folders
from vlseg.serve.agent_schemas import (
    ListArguments,
    ModelsTold,
    ProbeArguments,
    Probed,
    SegmentArguments,
    Segmented,
)
from vlseg.serve.limits import Limits, Refused
from vlseg.serve.pictures import NOTICE
from vlseg.serve.sources import named_sources

if TYPE_CHECKING:
    from vlseg.serve.agent_tools import Tools

LOG = logging.getLogger(__name__)
INSTRUCTIONS = (
    f"Segments 2D medical images by prompts. {NOTICE} Every mask comes with a state: found, not_found (by this model) "
    "or cannot_judge (the image is unlike those of the training; do not rely on the mask). An empty mask is no proof "
    "that nothing is there. list_models says what the models take, and which folders image paths may lie in."
)
SEGMENT = (
    "Masks of one image, one for each prompt, with state, area, bounding box and presence score. "
    "The masks come as PNG pictures of the image's size, white where the thing is."
)
LIST = "The models of this server, what they were trained to find, and the folders that may be read and written."
PROBE = (
    "Does the model read the prompt? Asks for the same in other words, for other things and without words on one image "
    "(on_this_image), and gives what vlseg probe measured on a test split, if anything (on_a_test_split)."
)


@dataclass(frozen=True)
class _Tool:
    """A tool as the protocol tells of it."""

    title: str
    about: str
    takes: type[BaseModel]
    gives: type[BaseModel]
    writes: bool = False

    def told(self, name: str) -> protocol.Tool:
        """For tools/list."""
        hints = protocol.ToolAnnotations(
            title=self.title,
            read_only_hint=not self.writes,
            destructive_hint=False,
            idempotent_hint=not self.writes,
            open_world_hint=False,
        )
        return protocol.Tool(
            name=name,
            title=self.title,
            description=self.about,
            input_schema=self.takes.model_json_schema(),
            output_schema=self.gives.model_json_schema(mode="serialization"),
            annotations=hints,
        )


def serve_agents(
    sources: Sequence[str], options: Mapping[str, Any], *, readable: Sequence[Path], written: Path | None
) -> None:
    """Serves one client on standard input and output until it closes them.

    The models are loaded once, from the moment that the client is answered; the first call that needs them waits.

    Args:
        sources: run folders, model folders, hub ids or model names, each as it is or as NAME=SOURCE.
        options: of `vlseg.evaluation.load`.
        readable: folders that images may be read from.
        written: folder that masks may be written to, or None.

    Raises:
        InputError: anything that is wrong and can be known before a model is loaded.
    """
    named = named_sources(sources)
    folders = open_folders(readable, written)
    # What waits for the next line of input can be cancelled by nothing else. Masks are written whole or not at all.
    before = signal.signal(signal.SIGINT, lambda number, frame: os._exit(130))
    try:
        asyncio.run(_serve(make_server(lambda: _loaded(named, options, folders), writes=written is not None)))
    finally:
        signal.signal(signal.SIGINT, before)


def make_server(load: "Callable[[], Tools]", *, writes: bool) -> "Server[asyncio.Future[Tools]]":
    """The server, which loads its tools on a thread of its own once it runs.

    Args:
        load: gives the tools; its InputError is every call's answer.
        writes: whether masks may be written.
    """
    tools = {
        "segment": _Tool("Segment an image", SEGMENT, SegmentArguments, Segmented, writes),
        "list_models": _Tool("List models", LIST, ListArguments, ModelsTold),
        "probe": _Tool("Does it read the prompt?", PROBE, ProbeArguments, Probed),
    }

    @asynccontextmanager
    async def lifespan(server: Any) -> "AsyncIterator[asyncio.Future[Tools]]":
        with ThreadPoolExecutor(1, "load") as loader:
            loading = asyncio.get_running_loop().run_in_executor(loader, load)
            loading.add_done_callback(_tell_failure)
            yield loading

    async def list_tools(
        context: "ServerRequestContext[asyncio.Future[Tools]]", params: protocol.PaginatedRequestParams | None
    ) -> protocol.ListToolsResult:
        return protocol.ListToolsResult(tools=[tool.told(name) for name, tool in tools.items()])

    async def call_tool(
        context: "ServerRequestContext[asyncio.Future[Tools]]", params: protocol.CallToolRequestParams
    ) -> protocol.CallToolResult:
        tool = tools.get(params.name)
        if tool is None:
            return _error(f"there is no tool {params.name!a:.80}; call {', '.join(tools)}")
        try:
            asked = tool.takes.model_validate(params.arguments or {})
        except pydantic.ValidationError as error:
            return _error(str(from_validation(error, params.name)))
        try:
            # A call that is cancelled must not stop the loading, which others wait for.
            answer, pictures = await _answer(await asyncio.shield(context.lifespan_context), asked)
        except (InputError, Refused) as error:
            return _error(str(error))
        except Exception as error:
            LOG.exception("%s failed", params.name)
            return _error(f"{params.name}: failed ({type(error).__name__}); the server's standard error says more")
        values = answer.model_dump(mode="json")
        shown = [protocol.ImageContent(data=base64.b64encode(one).decode(), mime_type="image/png") for one in pictures]
        text = protocol.TextContent(text=json.dumps(values, ensure_ascii=False))
        return protocol.CallToolResult(content=[text, *shown], structured_content=values)

    return Server(
        "vlseg",
        version=__version__,
        title="vlseg",
        instructions=INSTRUCTIONS,
        lifespan=lifespan,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


async def _answer(tools: "Tools", asked: BaseModel) -> tuple[BaseModel, list[bytes]]:
    if isinstance(asked, SegmentArguments):
        return await tools.segment(asked)
    if isinstance(asked, ProbeArguments):
        return await tools.probe(asked), []
    return await tools.list_models(), []


def _error(line: str) -> protocol.CallToolResult:
    text = protocol.TextContent(text=" ".join(line.split()))
    return protocol.CallToolResult(content=[text], is_error=True)


def _loaded(named: Mapping[str, str], options: Mapping[str, Any], folders: Folders) -> "Tools":
    # Torch takes seconds to import, and some clients wait ten for the first answer.
    from vlseg.models.device import check_precision, resolve_device
    from vlseg.serve.agent_tools import Tools
    from vlseg.serve.app import make_serving
    from vlseg.serve.server import copies_of, licence_of

    check_precision(options.get("precision", "fp32"), resolve_device(options.get("device", "auto")))
    models = {name: copies_of(name, source, options) for name, source in named.items()}
    licences = {name: licence for name, source in named.items() if (licence := licence_of(source))}
    return Tools(make_serving(models, Limits(), licences=licences), dict(named), folders)


def _tell_failure(loading: "asyncio.Future[Tools]") -> None:
    if not loading.cancelled() and (error := loading.exception()) is not None:
        print(f"vlseg: {error}", file=sys.stderr)


async def _serve(server: "Server[asyncio.Future[Tools]]") -> None:
    async with stdio_server() as (reading, writing):
        await server.run(reading, writing, server.create_initialization_options())
