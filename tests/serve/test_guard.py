"""Each test is a sentence that the guard claims, and ways to break it."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from asking import BEARER, TOKEN, Answered, ask, ask_later, cookie, guard

from vlseg.records import InputError
from vlseg.serve.access import page_session
from vlseg.serve.guard import REQUESTS_FOR_A_PLACE, Access, check_binding
from vlseg.serve.limits import Limits

OWN = "http://127.0.0.1:8000"


def test_without_the_token_only_healthz_answers() -> None:
    asked = guard()
    assert ask(asked, target="/healthz", headers={}).status == 200
    others = ["/", "/v1/models", "/metrics", "/docs", "/openapi.json", "/static/page.js", "/healthz/", "//healthz"]
    others += ["/HEALTHZ", "/healthz/../v1/models", "/v1/images/x"]
    for target in [
        *others,
        f"/v1/models?token={TOKEN}",
        f"/healthz/x?token={TOKEN}",
        "/?token=",
        "/?token=" + TOKEN[:-1],
    ]:
        assert ask(asked, target=target, headers={}).status == 401, target
    for method in ("POST", "DELETE"):
        assert ask(asked, method, f"/?token={TOKEN}", {"content-length": "0"}).status == 401


@pytest.mark.parametrize("kind", ["multipart/form-data; boundary=x", "application/json"])
def test_without_the_token_no_body_is_taken_in(kind: str) -> None:
    """Not by /healthz either: a few that are sent slowly would fill the memory for bodies."""
    asked = guard(seconds=30)
    for method in ("GET", "POST"):
        sized = {"content-type": kind, "content-length": "5"}
        assert ask(asked, method, "/healthz", sized, [b"hello"]).code == "too_large"
        pieces = {"content-type": kind, "transfer-encoding": "chunked"}
        assert ask(asked, method, "/healthz", pieces, [b"hello", 20.0, b"x"]).status == 200


@pytest.mark.parametrize(
    "value",
    ["", "Bearer", "Bearer ", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN} x"]
    + ["Bearer é", f"Bearer {TOKEN.upper()}", "Bearer \xff\xfe"],
)
def test_a_wrong_token_is_refused_even_with_a_good_cookie(value: str) -> None:
    asked = guard()
    got = ask(asked, headers={"authorization": value, "cookie": cookie(asked)})
    assert (got.status, got.code, got.headers["www-authenticate"]) == (401, "token_wrong", "Bearer")


def test_the_printed_address_gives_a_cookie_and_loses_the_token() -> None:
    got = ask(guard(), target=f"/?token={TOKEN}", headers={})
    assert (got.status, got.headers["location"], got.body) == (303, "/", b"")
    assert got.headers["referrer-policy"] == "no-referrer"
    assert got.headers["cache-control"] == "no-store"
    name, *rest = got.headers["set-cookie"].split("; ")
    assert name.startswith("vlseg_session_8000=")
    assert rest == ["Path=/", "HttpOnly", "SameSite=Strict"]
    assert TOKEN not in str(got)


def test_under_tls_the_cookie_is_secure_and_of_this_host_alone() -> None:
    asked = guard(access=Access(TOKEN, secure=True))
    sent = ask(asked, target=f"/?token={TOKEN}", headers={}).headers["set-cookie"]
    assert sent.startswith("__Host-vlseg_session_8000=")
    assert sent.endswith("; Secure")


@pytest.mark.parametrize("query", [f"token={TOKEN}&token=x", f"token=x&token={TOKEN}", f"Token={TOKEN}"])
def test_the_token_stands_once_in_the_address(query: str) -> None:
    assert ask(guard(), target=f"/?{query}", headers={}).status == 401


def test_a_second_tab_keeps_the_session() -> None:
    asked = guard()
    got = ask(asked, target=f"/?token={TOKEN}", headers={"cookie": cookie(asked)})
    assert got.status == 303
    assert "set-cookie" not in got.headers


def session_of(got: Answered) -> str:
    assert got.status == 200, got.body
    return str(json.loads(got.body)["session"])


def test_sessions_are_apart_and_not_what_was_sent() -> None:
    asked = guard()
    first, second = cookie(asked), cookie(asked)
    sessions = [session_of(ask(asked, headers={"cookie": one})) for one in (first, second)]
    sessions += [session_of(ask(asked, headers={**BEARER, "vlseg-session": own})) for own in ("a", "b")]
    sessions.append(session_of(ask(asked)))
    # A program cannot ask for a page's session by its cookie.
    value = first.partition("=")[2].partition(".")[0]
    sessions.append(session_of(ask(asked, headers={**BEARER, "vlseg-session": value})))
    assert len(set(sessions)) == 6
    assert all(value not in one and len(one) == 32 for one in sessions)
    assert session_of(ask(asked, headers={"cookie": first})) == sessions[0]


def test_cookies_end_and_cannot_be_made_or_changed() -> None:
    asked = guard(cookie_seconds=100)
    good = cookie(asked)
    name, _, value = good.partition("=")
    own, end, signature = value.split(".")
    scope: dict[str, Any] = {"server": ("127.0.0.1", 8000)}
    headers = {b"cookie": good.encode()}
    assert page_session(scope, headers, asked.access, now=int(end) - 1)
    assert page_session(scope, headers, asked.access, now=int(end)) is None
    changed = [
        f"{own}.{int(end) + 9}.{signature}",
        f"{own}.0{end}.{signature}",
        f"{'A' if own[0] != 'A' else 'B'}{own[1:]}.{end}.{signature}",
        f"{own}.{end}.{'0' * 64}",
        own,
        "",
    ]
    for other in changed:
        assert ask(asked, headers={"cookie": f"{name}={other}"}).status == 401, other
    assert ask(guard(access=Access(TOKEN[::-1])), headers={"cookie": good}).status == 401
    # Another server on this host can add cookies of the same name: they neither count nor lock out.
    assert ask(asked, headers={"cookie": f"{name}=made; {good}; {name}={own}.{end}.{'0' * 64}"}).status == 200
    assert ask(asked, headers={"cookie": f"{good}; {cookie(asked)}"}).status == 401
    assert ask(asked, headers=[("cookie", good), ("cookie", good)]).code == "header_twice"
    assert ask(asked, headers={"cookie": f"other=1; {good}; x"}).status == 200
    # A server on another port has another cookie.
    assert ask(asked, headers={"cookie": good}, port=9000).status == 401


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8000", 200),
        ("localhost:9000", 200),
        ("LOCALHOST", 200),
        ("[::1]:8000", 200),
        ("evil.example:8000", 403),
        ("127.0.0.1.evil.example", 403),
        ("localhost.evil.example:8000", 403),
        ("0.0.0.0:8000", 403),
        ("localhost.", 403),
        ("user@localhost", 403),
        ("localhost:8000@evil.example", 403),
        ("localhost/evil", 403),
        ("localhost, evil.example", 403),
        ("localhost:", 403),
        ("", 403),
        ("[::1", 403),
        ("[::1].evil.example", 403),
        ("2130706433", 403),
        (None, 400),
    ],
)
def test_other_names_are_refused(host: str | None, status: int) -> None:
    assert ask(guard(), host=host).status == status
    assert ask(guard(), target="/healthz", headers={}, host=host).status == status


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "", "http://127.0.0.1:3000", "https://127.0.0.1:8000"]
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS"])
def test_pages_of_other_origins_are_refused(origin: str, method: str) -> None:
    asked = guard()
    for headers in (BEARER, {"cookie": cookie(asked)}):
        got = ask(asked, method, headers={**headers, "origin": origin, "content-length": "0"})
        assert (got.status, got.code) == (403, "origin_not_allowed")
        assert not [name for name in got.headers if name.startswith("access-control")]


def test_the_servers_own_page_may_change_something() -> None:
    asked = guard()
    headers = {"cookie": cookie(asked), "content-length": "0", "sec-fetch-site": "same-origin"}
    assert ask(asked, "POST", headers={**headers, "origin": OWN}).status == 200
    assert ask(asked, "DELETE", headers={**headers, "origin": OWN}).status == 200
    assert ask(asked, "POST", headers=headers).code == "origin_missing"
    assert ask(asked, "DELETE", headers=headers).code == "origin_missing"
    for site in ("cross-site", "same-site"):
        lied = {**headers, "origin": OWN, "sec-fetch-site": site, "sec-fetch-mode": "navigate"}
        assert ask(asked, "POST", headers=lied).status == 403
    named = guard(access=Access(TOKEN, hosts=frozenset({"seg.example.org"}), secure=True))
    key = cookie_of(named, "seg.example.org")
    changing = {"cookie": key, "content-length": "0", "origin": "https://seg.example.org"}
    assert ask(named, "POST", headers=changing, host="seg.example.org").status == 200
    assert (
        ask(named, "POST", headers={**changing, "origin": "http://seg.example.org"}, host="seg.example.org").status
        == 403
    )


def cookie_of(asked: Any, host: str) -> str:
    got = ask(asked, target=f"/?token={TOKEN}", headers={}, host=host)
    return got.headers["set-cookie"].partition(";")[0]


def test_what_another_port_of_this_machine_asks_with_the_cookie_is_refused() -> None:
    """SameSite=Strict sends the cookie there: ports are one site."""
    asked = guard()
    for mode, status in (("no-cors", 403), ("cors", 403), ("navigate", 200)):
        headers = {"cookie": cookie(asked), "sec-fetch-site": "same-site", "sec-fetch-mode": mode}
        assert ask(asked, headers=headers).status == status


def test_a_browser_without_a_cookie_is_told_what_to_open() -> None:
    browser = {"accept": "text/html,*/*"}
    got = ask(guard(), target="/", headers=browser)
    assert (got.status, got.headers["content-type"]) == (401, "text/html; charset=utf-8")
    assert b"vlseg serve" in got.body
    assert b"refresh" not in got.body
    came = ask(guard(), target="/", headers={**browser, "sec-fetch-site": "cross-site"})
    assert b'<meta http-equiv="refresh" content="0; url=/">' in came.body
    wrong = ask(guard(), target="/?token=x", headers={**browser, "sec-fetch-site": "cross-site"})
    assert b"refresh" not in wrong.body


@pytest.mark.parametrize("target", ["/v1/models", "/", f"/?token={TOKEN}", "/healthz"])
@pytest.mark.parametrize("headers", [BEARER, {}, {"origin": "http://evil.example"}])
def test_every_answer_has_the_headers(target: str, headers: dict[str, str]) -> None:
    got = ask(guard(), target=target, headers=headers).headers
    policy = got["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert got["x-content-type-options"] == "nosniff"
    assert got["cache-control"] == "no-store"
    assert got["cross-origin-resource-policy"] == "same-origin"
    assert got["cross-origin-opener-policy"] == "same-origin"
    assert "access-control-allow-origin" not in got


def test_methods() -> None:
    asked = guard()
    for method in ("PUT", "PATCH", "TRACE", "CONNECT", "get", "PROPFIND", ""):
        got = ask(asked, method)
        assert (got.status, got.headers["allow"]) == (405, "GET, HEAD, POST, DELETE")
    head = ask(asked, "HEAD")
    assert (head.status, head.body) == (200, b"")
    assert ask(asked, "HEAD", headers={}).body == b""
    assert ask(asked, "HEAD", headers={}).status == 401
    options = ask(asked, "OPTIONS", headers={})
    assert (options.status, options.headers["allow"], options.body) == (204, "GET, HEAD, POST, DELETE", b"")


POST = {**BEARER, "content-type": "application/json"}


@pytest.mark.parametrize(
    ("headers", "pieces", "status", "code"),
    [
        ({"content-length": "11"}, [b"x" * 11], 413, "too_large"),
        ({"content-length": "99999999999999"}, [], 413, "too_large"),
        ({"content-length": "9" * 400}, [], 400, "length_invalid"),
        ({"content-length": "-1"}, [], 400, "length_invalid"),
        ({"content-length": "1e1"}, [], 400, "length_invalid"),
        ({"content-length": "+3"}, [], 400, "length_invalid"),
        ({"content-length": ""}, [], 400, "length_invalid"),
        ({"content-length": "3"}, [b"x" * 11], 413, "too_large"),
        ({"content-length": "3"}, [b"x" * 4], 400, "length_invalid"),
        ({"content-length": "3"}, [b"x"], 400, "length_invalid"),
        ({"transfer-encoding": "chunked"}, [b"x" * 6, b"x" * 6], 413, "too_large"),
        ({"transfer-encoding": "chunked", "content-length": "3"}, [b"x"], 400, "length_unclear"),
        ({}, [b"x"], 411, "length_missing"),
        ({"content-length": "10"}, [b"x" * 4, 0.3], 408, "too_slow"),
        ({"transfer-encoding": "chunked"}, [b"x", 0.1, b"x", 0.1, b"x", 0.1], 408, "too_slow"),
    ],
)
def test_bodies(headers: dict[str, str], pieces: list[bytes | float], status: int, code: str) -> None:
    reached = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        reached.append(scope)

    got = ask(guard(app, bytes=10, seconds=0.2), "POST", headers={**POST, **headers}, pieces=pieces)
    assert (got.status, got.code, got.headers["connection"]) == (status, code, "close")
    assert not reached


@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
def test_a_body_within_the_limit_arrives_whole(method: str) -> None:
    for headers in ({"content-length": "10"}, {"transfer-encoding": "chunked"}):
        got = ask(guard(bytes=10), method, headers={**POST, **headers}, pieces=[b"x" * 4, b"x" * 6])
        assert json.loads(got.body)["bytes"] == 10
        assert json.loads(got.body)["last"]


def test_only_forms_may_be_as_large_as_an_image() -> None:
    asked = guard(bytes=20, json_bytes=10)
    for kind, most in (
        ("multipart/form-data; boundary=x", 20),
        ("Multipart/Form-Data", 20),
        ("application/json", 10),
        ("", 10),
    ):
        for length in (most, most + 1):
            headers = {**BEARER, "content-type": kind, "content-length": str(length)}
            assert ask(asked, "POST", headers=headers, pieces=[b"x" * length]).status == (
                200 if length == most else 413
            )
    assert ask(asked, "POST", headers={**BEARER, "content-length": "11"}, pieces=[b"x" * 11]).status == 413


def test_nothing_is_taken_in_from_who_has_no_token() -> None:
    taken = []

    def pieces() -> Any:
        for _ in range(3):
            taken.append(1)
            yield b"x"

    assert ask(guard(), "POST", headers={"content-length": "3"}, pieces=pieces()).status == 401
    assert not taken


def test_bodies_in_memory_at_one_time_are_bounded() -> None:
    asked = guard(bytes=10, seconds=5)

    async def many() -> list[Answered]:
        slow = [
            ask_later(asked, "POST", headers={**POST, "content-length": "10"}, pieces=[0.2, b"x" * 10])
            for _ in range(9)
        ]
        return await asyncio.gather(*slow)

    answers = asyncio.run(many())
    assert sorted(got.status for got in answers) == [200] * 8 + [429]
    assert [got.headers["retry-after"] for got in answers if got.status == 429] == ["1"]
    # And are free again, also after refusals and failures.
    assert ask(asked, "POST", headers={**POST, "content-length": "10"}, pieces=[b"x"]).status == 400
    assert asked._held == 0


def test_who_hangs_up_gets_no_answer_and_holds_nothing() -> None:
    asked, sent = guard(), []

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"host", b"localhost"), (b"authorization", f"Bearer {TOKEN}".encode()), (b"content-length", b"9")]
    scope = {"type": "http", "method": "POST", "path": "/v1/segment", "query_string": b"", "headers": headers}
    asyncio.run(asked(scope, receive, send))
    assert not sent
    assert asked._held == 0


def test_headers_are_limited_and_stand_once() -> None:
    asked = guard()
    for name in ("host", "authorization", "origin", "content-length", "vlseg-session", "sec-fetch-site"):
        values = BEARER["authorization"] if name == "authorization" else "0"
        got = ask(asked, headers=[*BEARER.items(), (name, values), (name.upper(), values)])
        assert (got.status, got.code) == (400, "header_twice"), name
    many = [(f"x-{number}", "y") for number in range(70)]
    assert ask(asked, headers=[*BEARER.items(), *many]).code == "headers_too_large"
    assert ask(asked, headers={**BEARER, "x": "y" * 20_000}).code == "headers_too_large"
    for own in ("", "a b", "../x", "é", "x" * 129):
        assert ask(asked, headers={**BEARER, "vlseg-session": own}).code == "session_invalid"


def test_forwarded_headers_change_nothing() -> None:
    forwarded = {"x-forwarded-host": "localhost", "forwarded": "host=localhost", "x-forwarded-proto": "https"}
    asked = guard()
    assert ask(asked, headers={**BEARER, **forwarded}, host="evil.example").status == 403
    assert "Secure" not in ask(asked, target=f"/?token={TOKEN}", headers=forwarded).headers["set-cookie"]


def test_websockets_are_closed_and_the_lifespan_passes() -> None:
    met: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        met.append(scope["type"])

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    asked = guard(app)
    headers = [(b"host", b"localhost"), (b"authorization", f"Bearer {TOKEN}".encode())]
    asyncio.run(asked({"type": "websocket", "path": "/", "headers": headers}, receive, send))
    assert sent == [{"type": "websocket.close", "code": 1008}]
    asyncio.run(asked({"type": "lifespan"}, receive, send))
    assert met == ["lifespan"]


def test_a_failing_app_says_nothing_of_why() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise ValueError("the secret prompt")

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"host", b"localhost"), (b"authorization", f"Bearer {TOKEN}".encode())]
    scope = {"type": "http", "method": "GET", "path": "/v1/models", "query_string": b"", "headers": headers}
    with pytest.raises(ValueError, match="secret"):
        asyncio.run(guard(app)(scope, None, send))  # type: ignore[arg-type]
    assert sent[0]["status"] == 500
    assert b"secret" not in sent[1]["body"]
    assert (b"cache-control", b"no-store") in sent[0]["headers"]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.9.1", "::1"])
def test_loopback_needs_no_tls(host: str) -> None:
    check_binding(host, tls=False, behind_proxy=False)


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "", "10.0.0.1", "myhost", "localhost.evil", "127.1", "::ffff:10.0.0.1"]
)
def test_other_hosts_need_tls_or_a_proxy(host: str) -> None:
    with pytest.raises(InputError, match="--behind-proxy"):
        check_binding(host, tls=False, behind_proxy=False)
    check_binding(host, tls=True, behind_proxy=False)
    check_binding(host, tls=False, behind_proxy=True)


@pytest.mark.parametrize("token", ["", "short", "x" * 19, "x" * 257, "x" * 20 + "\n", "a b" * 10, "ü" * 30, "x+/=" * 9])
def test_weak_tokens_are_refused(token: str) -> None:
    with pytest.raises(InputError, match="token_urlsafe"):
        Access(token)


@pytest.mark.parametrize("wrong", [{"hosts": frozenset()}, {"hosts": {"*"}}, {"hosts": {"A.b"}}, {"hosts": {"a:80"}}])
def test_hosts_are_names(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="host"):
        Access(TOKEN, **wrong)


@pytest.mark.parametrize("origin", ["*", "null", "seg.example.org", "https://x/", "https://"])
def test_origins_are_origins(origin: str) -> None:
    with pytest.raises(InputError, match="origin"):
        Access(TOKEN, origins=frozenset({origin}))


def test_without_a_token_no_body_is_taken_in() -> None:
    """Else slow bodies for /healthz would fill the memory that bodies may take, with no token."""
    asked = guard()
    for method in ("GET", "POST"):
        assert ask(asked, method, "/healthz", {"content-length": "0"}).status == 200
        assert ask(asked, method, "/healthz", {"content-length": "9"}, [b"x" * 9]).status == 413
    got = ask(asked, "POST", "/healthz", {"transfer-encoding": "chunked"}, [b"x" * 9])
    assert (got.status, json.loads(got.body)["bytes"]) == (200, 0)


def test_bodies_in_memory_are_bounded() -> None:
    asked = guard(bytes=100)
    sent = {**BEARER, "content-length": "100"}

    async def work() -> list[Answered]:
        slow = [
            asyncio.create_task(ask_later(asked, "POST", headers=sent, pieces=[b"x" * 99, 0.3, b"x"])) for _ in range(8)
        ]
        await asyncio.sleep(0.1)
        more = await ask_later(asked, "POST", headers={**BEARER, "content-length": "1"}, pieces=[b"x"])
        first = await asyncio.gather(*slow)
        return [more, *first, await ask_later(asked, "POST", headers=sent, pieces=[b"x" * 100])]

    more, *others = asyncio.run(work())
    assert (more.status, more.code, more.headers["retry-after"]) == (429, "too_busy", "1")
    assert [got.status for got in others] == [200] * 9


def test_open_requests_are_bounded_and_the_one_too_many_is_told_when_to_come_back() -> None:
    asked = guard(queue=1)
    sent = {**BEARER, "content-length": "2"}

    async def work() -> tuple[list[Answered], list[Answered]]:
        slow = [asyncio.create_task(ask_later(asked, "POST", headers=sent, pieces=[b"x", 0.3, b"x"])) for _ in range(8)]
        await asyncio.sleep(0.1)
        during = [await ask_later(asked), await ask_later(asked, target="/healthz", headers={})]
        return during, [*await asyncio.gather(*slow), await ask_later(asked)]

    (more, health), others = asyncio.run(work())
    assert (more.status, more.code, more.headers["retry-after"]) == (429, "too_busy", "1")
    assert health.status == 200
    assert [got.status for got in others] == [200] * 9
    page = (Path(__file__).resolve().parents[2] / "docs" / "serve.md").read_text(encoding="utf-8")
    assert f"| {REQUESTS_FOR_A_PLACE * Limits().queue} requests that are open at all" in page
