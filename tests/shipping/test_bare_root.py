"""The Dockerfile's steps in a bare Debian root; the image starts without a network."""
# ruff: noqa: S603, S607

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.checkpoints import make_checkpoint
from tests.proof import Ledger
from tests.shipping.image import Builder, Container, Image, container

ROOT = Path(__file__).parent.parent.parent
TOKEN = "api-" + "t" * 20

pytestmark = [
    pytest.mark.proof,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(
        os.geteuid() != 0 or shutil.which("debootstrap") is None,
        reason="needs root, and Debian's debootstrap",
    ),
]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bare Debian: what debian:bookworm-slim is made of. HEED's own settings play no part."""
    known = os.environ.get("BARE_ROOT")  # noqa: TID251 - one that was made before
    if known:
        return Path(known)
    root = tmp_path_factory.mktemp("debian") / "root"
    subprocess.run(["debootstrap", "--variant=minbase", "bookworm", str(root)], check=True)
    return root


@pytest.fixture(scope="module")
def image(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    """The image with a small model inside, built from what is committed or at hand."""
    work = tmp_path_factory.mktemp("image")
    context = work / "context"
    files = subprocess.check_output(
        ["git", "ls-files", "-coz", "--exclude-standard"], cwd=ROOT, text=True
    ).split("\0")
    for name in (one for one in files if one and (ROOT / one).exists()):
        (context / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, context / name)
    make_checkpoint(context / "models" / "tiny")
    pip = {k: v for k, v in os.environ.items() if k.startswith("PIP_")}  # noqa: TID251
    named = pip.get("PIP_FIND_LINKS", "").split()
    binds = [Path(one) for one in named if Path(one).is_dir()]
    yield Builder(
        context, base, work, args={"MODEL": "models/tiny"}, binds=binds, extra=pip
    ).build()
    shutil.rmtree(work)


def wait_until_well(one: Container, seconds: float = 90.0) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.5)
        assert one.process.poll() is None, one.log.read_text("utf-8")
        ready = [word.replace("/livez", "/readyz") for word in one.image.health]
        if one.run(*ready).returncode == 0:
            assert one.run(*one.image.health).returncode == 0
            return
    raise AssertionError(one.log.read_text("utf-8"))


ASK = """
import json, sys, urllib.request as r
body = json.dumps({'text': sys.argv[1], 'user': 'ann'}).encode()
headers = {'Authorization': 'Bearer ' + sys.argv[2], 'Content-Type': 'application/json'}
q = r.Request('http://127.0.0.1:8080/chat', body, headers)
print(r.urlopen(q, timeout=60).read().decode())
"""


def test_the_image_starts_without_a_network_and_keeps_what_it_heard(
    image: Image, tmp_path: Path, proof: Ledger
) -> None:
    volume, secrets = tmp_path / "volume", tmp_path / "secrets"
    volume.mkdir()
    secrets.mkdir()
    (secrets / "http_token").write_text(TOKEN + "\n")
    env = {"HEED_HTTP__TOKEN_FILE": "/run/secrets/http_token"}
    wrong: list[str] = []

    def hold(true: object, words: str) -> None:
        if not true:
            wrong.append(words)

    with container(image, volume, env, secrets) as one:
        wait_until_well(one)
        hold(one.run("id", "-u").stdout.strip() == "10001", "it does not run as its own user")
        hold(one.run("touch", "/opt/heed/x").returncode != 0, "its root can be written")
        hold(one.run("touch", "/data/x").returncode == 0, "/data cannot be written")
        asked = one.run("python3", "-c", ASK, "I am furious, you charged me twice AGAIN", TOKEN)
        answer = json.loads(asked.stdout or "{}")
        hold(answer.get("case"), f"no case for the furious: {asked.stdout}{asked.stderr}")
        denied = one.run("python3", "-c", ASK, "hello", "wrong")
        hold("401" in denied.stderr, "a wrong token was let in")
        live = one.run("heed", "doctor", "--live", env=env)
        hold(live.returncode in (0, 1) and "tiny" in live.stdout, f"{live.stdout}{live.stderr}")
        hold(one.stop() == 0, "it did not end in order")
        log = one.log.read_text("utf-8")
        hold(TOKEN not in log, "a secret stands in the log")
    with container(image, volume, env, secrets) as one:  # the same volume, a second life
        wait_until_well(one)
        again = one.run("python3", "-c", ASK, "hello? is anybody there?", TOKEN)
        hold(json.loads(again.stdout or "{}").get("owner") == "queue", "the case was forgotten")
    size = sum(
        f.stat().st_size for f in image.root.rglob("*") if f.is_file() and not f.is_symlink()
    )
    told = f"10 facts of an image of {size / 2**20:,.0f} MiB with a model inside, no network"
    proof("shipping", "the Dockerfile's steps in a bare Debian root", told, wrong)
