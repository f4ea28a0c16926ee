"""A Dockerfile carried out without a container engine: each step in a bare Debian root.

The base image is a root that debootstrap has made, RUN is a chroot in namespaces of its own, and a
container is the finished root mounted read-only, without a network but its own loopback. Knows
only what our Dockerfile uses, and raises ValueError for anything else. Needs root.
"""
# ruff: noqa: S603, S607

from __future__ import annotations

import fnmatch
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

CERTIFICATES = Path("/etc/ssl/certs")
PACKAGES = "ca-certificates"  # what the slim image has beyond a minimal root: nothing else
_VALUE = re.compile(r"\$\{(\w+)(?::\+([^}]*))?\}|\$(\w+)")


@dataclass
class Image:
    """One stage: its root, and what the Dockerfile says of how it runs."""

    root: Path
    env: dict[str, str] = field(default_factory=dict)
    args: dict[str, str] = field(default_factory=dict)
    folder: str = "/"
    user: str = "0:0"
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)
    volumes: list[str] = field(default_factory=list)


def steps(dockerfile: str) -> Iterator[tuple[str, str]]:
    """Yield (instruction, rest) of a Dockerfile."""
    text = re.sub(r"\\\n\s*", " ", dockerfile)
    for line in text.splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            name, _, rest = line.strip().partition(" ")
            yield name.upper(), rest.strip()


def filled(text: str, values: Mapping[str, str]) -> str:
    """Put values where a Dockerfile names them: $A, ${A}, ${A:+only with a value}."""

    def value(found: re.Match[str]) -> str:
        known = values.get(found[1] or found[3], "")
        return (found[2] if known else "") if found[2] is not None else known

    return _VALUE.sub(value, text)


class Builder:
    """Builds the images of one Dockerfile from a bare root."""

    def __init__(
        self,
        context: Path,
        base: Path,
        work: Path,
        *,
        args: Mapping[str, str],
        binds: Sequence[Path] = (),
        extra: Mapping[str, str],
    ) -> None:
        self._context = context
        self._base = base
        self._work = work
        self._args = dict(args)
        self._binds = binds  # folders that this machine's pip and apt need, at the same place
        self._extra = dict(extra)  # variables of this machine's pip
        self._stages: dict[str, Image] = {}
        self._defaults: dict[str, str] = {}
        self._ignored = [
            line.strip()
            for line in (context / ".dockerignore").read_text("utf-8").splitlines()
            if line.strip() and not line.startswith("#")
        ]

    def build(self) -> Image:
        """Carry out every step; return the last stage."""
        image: Image | None = None
        for name, rest in steps((self._context / "Dockerfile").read_text("utf-8")):
            if name == "FROM":
                image = self._from(rest)
            elif image is None:
                key, _, value = rest.partition("=")
                self._defaults[key] = self._args.get(key, value)
            else:
                self._step(image, name, rest)
        assert image is not None
        return image

    def _from(self, rest: str) -> Image:
        base, *named = rest.split()
        assert filled(base, self._defaults) == "debian:bookworm-slim", base
        root = self._work / f"stage{len(self._stages)}"
        subprocess.run(["cp", "-a", str(self._base), str(root)], check=True)
        image = Image(root, env={"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"})
        self._stages[named[1] if named else ""] = image
        return image

    def _step(self, image: Image, name: str, rest: str) -> None:
        values = image.args | image.env
        match name:
            case "ARG":
                key, _, default = rest.partition("=")
                image.args[key] = self._args.get(key, default or self._defaults.get(key, ""))
            case "ENV":
                for part in shlex.split(rest):
                    key, _, value = part.partition("=")
                    image.env[key] = filled(value, values)
            case "WORKDIR":
                image.folder = filled(rest, values)
                if not (image.root / image.folder.lstrip("/")).exists():
                    (image.root / image.folder.lstrip("/")).mkdir(parents=True)
            case "COPY":
                self._copy(image, filled(rest, values).split())
            case "RUN":
                self._run(image, rest)
            case "USER":
                image.user = rest
            case "ENTRYPOINT":
                image.entrypoint = json.loads(rest)
            case "CMD":
                image.command = json.loads(rest)
            case "HEALTHCHECK":
                image.health = json.loads(rest[rest.index("[") :])
            case "VOLUME":
                image.volumes.append(rest)
            case "EXPOSE" | "STOPSIGNAL":
                pass
            case _:
                raise ValueError(f"{name} is not known here")

    def _copy(self, image: Image, words: list[str]) -> None:
        source_root = self._context
        if words[0].startswith("--from="):
            source_root = self._stages[words.pop(0).removeprefix("--from=")].root
        *sources, target = words
        into = image.root / os.path.join(image.folder, target).lstrip("/")  # noqa: PTH118
        several = len(sources) > 1 or target.endswith("/")
        for pattern in sources:
            for source in sorted(source_root.glob(pattern.lstrip("/"))):
                if source_root == self._context and not self._sent(source):
                    continue
                if source.is_dir():
                    shutil.copytree(
                        source, into, symlinks=True, dirs_exist_ok=True, ignore=self._left_out
                    )
                else:
                    into.mkdir(parents=True, exist_ok=True) if several else None
                    shutil.copy2(source, into)

    def _sent(self, path: Path) -> bool:
        """Say whether .dockerignore lets a file or folder into the context."""
        name, sent = str(path.relative_to(self._context)), True
        for rule in self._ignored:
            wanted = rule.removeprefix("!")
            parts = [name, *(str(one) for one in Path(name).parents)]
            short = wanted.removeprefix("**/")
            if any(fnmatch.fnmatch(one, wanted) for one in parts) or (
                short != wanted and fnmatch.fnmatch(path.name, short)
            ):
                sent = rule.startswith("!")
        return sent

    def _left_out(self, folder: str, names: list[str]) -> list[str]:
        if not Path(folder).is_relative_to(self._context):
            return []
        return [name for name in names if not self._sent(Path(folder) / name)]

    def _certificates(self) -> Path:
        """Copy this machine's certificates: a step that installs some must not change them here."""
        copy = self._work / "certificates"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(CERTIFICATES, copy, symlinks=True)
        return copy

    def _run(self, image: Image, script: str) -> None:
        env = image.env | {k: v for k, v in image.args.items() if v} | self._extra
        lines = [f"mount -t proc proc {image.root}/proc", f"mount --bind /dev {image.root}/dev"]
        shared = {bind: bind for bind in (*self._binds, Path("/etc/resolv.conf"))}
        shared[CERTIFICATES] = self._certificates()
        for bind, here in shared.items():
            inside = image.root / str(bind).lstrip("/")
            if bind.is_dir():
                inside.mkdir(parents=True, exist_ok=True)
            else:
                inside.parent.mkdir(parents=True, exist_ok=True)
                inside.touch()
            lines.append(f"mount --bind {here} {inside}")
            if here == bind:  # a step may change what is its own, and nothing of this machine
                lines.append(f"mount -o remount,bind,ro {inside}")
        inner = f"cd {image.folder} && {script}"
        lines.append(f"exec /usr/sbin/chroot {image.root} /bin/sh -ec {shlex.quote(inner)}")
        done = subprocess.run(
            ["unshare", "--mount", "--pid", "--fork", "/bin/sh", "-ec", "\n".join(lines)],
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"RUN {script}\n{done.stdout[-2000:]}{done.stderr[-4000:]}"


@contextmanager
def container(
    image: Image, volume: Path, env: Mapping[str, str] = {}, secrets: Path | None = None
) -> Iterator[Container]:
    """Start the image as compose.yaml does: root read-only, /tmp in memory, no network at all."""
    root, at = image.root, image.root.parent / "mounted"
    at.mkdir(exist_ok=True)
    (root / "run/secrets").mkdir(parents=True, exist_ok=True)
    user, _, group = image.user.partition(":")
    os.chown(volume, int(user), int(group))
    words = " ".join(map(shlex.quote, [*image.entrypoint, *image.command]))
    script = "\n".join(
        [
            f"mount --bind {root} {at}",
            f"mount -o remount,ro,bind {at}",
            f"mount -t proc proc {at}/proc",
            f"mount -t tmpfs tmpfs {at}/tmp",
            f"mount -t tmpfs tmpfs {at}/dev && mknod -m 666 {at}/dev/null c 1 3",
            f"mknod -m 666 {at}/dev/urandom c 1 9 && mknod -m 666 {at}/dev/random c 1 8",
            f"mount --bind {volume} {at}{image.volumes[0]}",
            *([f"mount --bind {secrets} {at}/run/secrets"] if secrets else []),
            "/sbin/ip link set lo up",
            f"cd {at} && exec /usr/sbin/chroot --userspec={image.user} {at} /bin/sh -c "
            + shlex.quote(f"cd {image.folder} && exec {words}"),
        ]
    )
    log = volume.parent / "container.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [
                "unshare",
                "--mount",
                "--net",
                "--pid",
                "--fork",
                "--kill-child",
                "/bin/sh",
                "-ec",
                script,
            ],
            env={**image.env, **env},
            stdout=out,
            stderr=out,
        )
        one = Container(image, process, log)
        try:
            yield one
        finally:
            one.kill()


@dataclass
class Container:
    """One running image."""

    image: Image
    process: subprocess.Popen[bytes]
    log: Path

    def run(self, *words: str, env: Mapping[str, str] = {}) -> subprocess.CompletedProcess[str]:
        """Run a command beside the program, as the same user, in the same namespaces."""
        inside = self._first()
        mounted = self.image.root.parent / "mounted"
        return subprocess.run(
            [
                "nsenter", "--target", str(inside), "--mount", "--net", "--pid",
                "/usr/sbin/chroot", f"--userspec={self.image.user}", str(mounted),
                "/bin/sh", "-c", f"cd {self.image.folder} && exec {shlex.join(words)}",
            ],
            env={**self.image.env, **env},
            capture_output=True,
            text=True,
            check=False,
        )  # fmt: skip

    def stop(self, seconds: float = 20.0) -> int:
        """Ask it to end, as `docker stop` does; return the exit code of the program."""
        os.kill(self._first(), signal.SIGTERM)
        return self.process.wait(seconds)

    def kill(self) -> None:
        """End it at once. Its user is not ours, so the kernel does not do that for us."""
        with suppress(IndexError, FileNotFoundError):
            os.kill(self._first(), signal.SIGKILL)
        self.process.kill()
        self.process.wait()

    def _first(self) -> int:
        """Return the program's own process, as this machine numbers it."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return int(children.read_text("ascii").split()[0])
