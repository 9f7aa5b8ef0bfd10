"""What the pages of this pack ask the server: the model list, estimates, downloads.

No route takes a path or an address: downloads are named by entries of the catalogue, and go where the loader's go.

    POST /apisr/client      {"client_id", "language"}: the page shows statuses itself
    GET  /apisr/models      ?language: the labels of the entries of the model list; &name: all about one of them
    GET  /apisr/estimate    ?node, model, width, height, ...: see `estimate.answer`
    POST /apisr/download    {"id"}: fetch a published model; its progress goes to all pages, as "apisr.download"
    POST /apisr/cancel      {"id"}: stop that
"""

import asyncio
import json
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from . import entries, estimate, words
from .downloads import DOWNLOADS
from .pages import PAGES
from .status import brief

MOST_BYTES = 4096
"""Of a request's body; ours are far smaller."""
LONGEST_NAME = 200


def add_routes(routes: web.RouteTableDef) -> None:
    """Add ours to those of ComfyUI's server."""
    routes.post("/apisr/client")(_client)
    routes.get("/apisr/models")(_models)
    routes.get("/apisr/estimate")(_estimate)
    routes.post("/apisr/download")(_download)
    routes.post("/apisr/cancel")(_cancel)


async def _client(request: web.Request) -> web.Response:
    body = await _body(request)
    client_id, language = body.get("client_id"), body.get("language")
    if not isinstance(client_id, str) or not 0 < len(client_id) <= LONGEST_NAME:
        raise web.HTTPBadRequest(text="client_id must be a short text.")
    PAGES.sign_in(client_id, words.known_language(language if isinstance(language, str) else None))
    return web.Response(status=204)


async def _models(request: web.Request) -> web.Response:
    language = words.known_language(request.query.get("language"))
    name = request.query.get("name")
    if name is None:
        return web.json_response({"models": await asyncio.to_thread(entries.labels, language)})
    # reads the whole file of a published model once, to compare its sha256
    return web.json_response({"models": [await asyncio.to_thread(entries.describe, name, language)]})


async def _estimate(request: web.Request) -> web.Response:
    try:
        answer = await asyncio.to_thread(estimate.answer, request.query, request.query.getall("unknown", []))
    except ValueError as error:  # the run would say the same
        answer = {"lines": brief(str(error)).split("\n")}
    return web.json_response(answer)


async def _download(request: web.Request) -> web.Response:
    known = entries.downloadable((await _body(request)).get("id"))
    if known is None:
        raise web.HTTPNotFound(text="There is no such model in the catalogue.")
    DOWNLOADS.start(known)
    return web.Response(status=202)


async def _cancel(request: web.Request) -> web.Response:
    known = entries.downloadable((await _body(request)).get("id"))
    if known is None:
        raise web.HTTPNotFound(text="There is no such model in the catalogue.")
    DOWNLOADS.cancel(known)
    return web.Response(status=204)


async def _body(request: web.Request) -> dict[str, Any]:
    """The JSON object in the body of a request from our own page.

    Other sites must not start downloads on the user's machine: browsers tell where a request comes from, and send no
    JSON to other sites without asking them first.
    """
    if not _is_own(request):
        raise web.HTTPForbidden(text="Only ComfyUI's own pages may ask for this.")
    try:
        await request.content.readexactly(MOST_BYTES + 1)
    except asyncio.IncompleteReadError as end:
        data = end.partial
    else:
        data = b""  # too long
    if request.content_type != "application/json" or not data:
        raise web.HTTPBadRequest(text="Expected a small JSON object.")
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        raise web.HTTPBadRequest(text="Expected a JSON object.") from None
    if not isinstance(body, dict):
        raise web.HTTPBadRequest(text="Expected a JSON object.")
    return body


def _is_own(request: web.Request) -> bool:
    """Whether a request comes from the server's own page, or from a program.

    The browser's own word counts: a proxy in front of ComfyUI may have changed the name of the host. Browsers that do
    not give it send the page's origin.
    """
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if site is not None:
        return site in ("same-origin", "none")
    return origin is None or urlsplit(origin).netloc.lower() == request.host.lower()
