"""The recipe for nginx, tried: HTTPS outside, plain HTTP to Heed, nothing more than is needed."""
# ruff: noqa: S603, S607, ASYNC221

from __future__ import annotations

import asyncio
import re
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from tests.patience import PATIENCE
from tests.proof import Ledger
from tests.walk.program import Program, events, free_port, heed

SHIPPING = Path(__file__).parent.parent.parent / "docs/shipping"
TOKEN = "proxied-token"
MAIN = """
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ }}
http {{
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/f;
    uwsgi_temp_path {folder}/u;
    scgi_temp_path {folder}/s;
    {recipe}
}}
"""


def recipe(folder: Path, plain: int, port: int, heed_at: str) -> str:
    """Return the recipe with this test's ports, names and files, and nothing else changed."""
    text = (SHIPPING / "nginx.conf").read_text("utf-8")
    text = re.sub(r"\n +listen \[::\]:.*", "", text)
    text = text.replace("listen 80;", f"listen 127.0.0.1:{plain};")
    text = text.replace("listen 443 ", f"listen 127.0.0.1:{port} ")
    text = text.replace("http://127.0.0.1:8080", heed_at)
    text = re.sub(r"/etc/letsencrypt/live/[^/]+/fullchain.pem", f"{folder}/cert.pem", text)
    text = re.sub(r"/etc/letsencrypt/live/[^/]+/privkey.pem", f"{folder}/key.pem", text)
    return text.replace("/var/log/nginx/heed.log", f"{folder}/access.log")


@asynccontextmanager
async def proxied(folder: Path, heed_at: str) -> AsyncIterator[tuple[str, str]]:
    """Run nginx by the recipe; gives its addresses, with and without HTTPS."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
         "/CN=heed.example.org", "-keyout", f"{folder}/key.pem", "-out", f"{folder}/cert.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    plain, port = free_port(), free_port()
    config = folder / "nginx.conf"
    config.write_text(MAIN.format(folder=folder, recipe=recipe(folder, plain, port, heed_at)))
    process = subprocess.Popen(  # noqa: ASYNC220 - it is asked over its sockets
        ["nginx", "-e", f"{folder}/error.log", "-c", str(config)], stderr=subprocess.PIPE
    )
    try:
        async with asyncio.timeout(PATIENCE):
            while not await _open(port):
                assert process.poll() is None, process.communicate()[1]
                await asyncio.sleep(0.05)
        yield f"https://127.0.0.1:{port}", f"http://127.0.0.1:{plain}"
    finally:
        process.terminate()
        process.communicate()


async def _open(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


@pytest.mark.proof
@pytest.mark.skipif(shutil.which("nginx") is None, reason="needs nginx (apt install nginx-light)")
async def test_behind_nginx(tmp_path: Path, proof: Ledger) -> None:
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    added = heed(tmp_path, "staff", "add", "ana", "--password-stdin", said="a password\n")
    assert added.returncode == 0, added.stderr
    wrong: list[str] = []

    def hold(true: object, words: str) -> None:
        if not true:
            wrong.append(words)

    async with (
        Program(tmp_path, HEED_HTTP__TOKEN=TOKEN, HEED_MODEL__NAME="embedded") as program,
        proxied(tmp_path, program.url) as (site, plain),
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusting)) as http,
    ):
        headers = {"Host": "heed.example.org"}
        key = headers | {"Authorization": f"Bearer {TOKEN}"}
        body = {"text": "hello there", "user": "ann"}
        async with http.get(f"{plain}/desk", headers=headers, allow_redirects=False) as found:
            hold(found.status == 301, f"plain HTTP is answered {found.status}")
        for path in ("/", "/room", "/metrics", "/static/../metrics"):
            async with http.get(f"{site}{path}", headers=headers) as found:
                hold(found.status == 404, f"{path} is open: {found.status}")
        async with http.post(f"{site}/chat?secret=planted", json=body, headers=key) as found:
            hold(found.status == 200 and (await found.json())["response"], "no answer")
        async with http.post(f"{site}/chat", json=body, headers=headers) as found:
            hold(found.status == 401, f"without a token: {found.status}")
        live = key | {"Accept": "text/event-stream"}
        async with http.post(f"{site}/chat", json=body, headers=live) as found:
            parts = [part async for part, _ in found.content.iter_chunks() if part]
        names = [name for name, _ in events(b"".join(parts).decode())]
        hold(names[0] == "tag" and names[-1] == "done", f"events {names}")
        hold(len(parts) > 1, "the stream came in one piece")
        async with http.get(f"{site}/login", headers=headers) as found:
            door = re.search(r'name="door" value="([^"]+)"', await found.text())
            cookie = found.cookies["heed_door"]
        assert door is not None
        form = {"name": "ana", "password": "a password", "door": door[1], "next": "/desk"}
        told = headers | {"Cookie": f"heed_door={cookie.value}"}
        async with http.post(
            f"{site}/login", data=form, headers=told, allow_redirects=False
        ) as found:
            session = found.cookies.get("heed_session")
            hold(found.status == 303 and session is not None, f"log-in: {found.status}")
            hold(session is not None and session["secure"], "the session's cookie is not Secure")
        async with http.get(f"{site}/desk", headers=headers) as found:
            hold("max-age" in found.headers.get("Strict-Transport-Security", ""), "no HSTS")
    log = (tmp_path / "access.log").read_text("utf-8")
    hold('"POST /chat" 200' in log, "the access log lacks a request")
    hold(TOKEN not in log and "planted" not in log, "the access log holds a secret")
    proof("shipping", "the nginx recipe, with a certificate of its own", "14 facts", wrong)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd")
def test_the_unit_is_one_that_systemd_understands(tmp_path: Path) -> None:
    unit = (SHIPPING / "heed.service").read_text("utf-8")
    program = shutil.which("true") or "/bin/true"
    known = unit.replace("/opt/heed/.venv/bin/heed run", program)
    (tmp_path / "heed.service").write_text(
        re.sub("^(User|Group)=heed$", r"\1=daemon", known, flags=re.MULTILINE)
    )
    done = subprocess.run(
        ["systemd-analyze", "verify", str(tmp_path / "heed.service")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "heed.service" not in done.stderr, done.stderr
