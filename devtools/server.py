"""A ComfyUI server of one's own, driven over HTTP. Standard library only, so that `dev.py` runs anywhere."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .trouble import TroubleError

ROOT = Path(__file__).resolve().parent.parent
PACK_FOLDER = "SceneScope"


class WorkflowError(RuntimeError):
    """A prompt was refused, or a node failed; the message says which, and why."""


@dataclass(frozen=True)
class Place:
    """Where a server runs: whose ComfyUI, which Python, and the folder that it writes to."""

    comfyui: Path
    python: Path
    base: Path
    options: tuple[str, ...] = ("--cpu",)


class Server:
    """A running ComfyUI that has only this pack; a context manager that leaves no process behind."""

    def __init__(self, place: Place, *, start_within: float = 300.0) -> None:
        self.place = place
        self.start_within = start_within  # seconds
        self.client = uuid.uuid4().hex
        self.log_file = place.base / "server.log"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Where the server listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """Everything the server has printed so far."""
        return self.log_file.read_text("utf-8", "replace") if self.log_file.exists() else ""

    def __enter__(self) -> Server:
        install_pack(self.place.base / "custom_nodes")
        install_picture(self.place)
        command = [self.place.python, self.place.comfyui / "main.py", *self.place.options]
        command += ["--base-directory", self.place.base, "--port", self.port]
        command += ["--disable-auto-launch", "--disable-api-nodes", "--database-url", "sqlite:///:memory:"]
        # No proxy may sit between a test and its own machine; unbuffered, so that the log is complete when it is read.
        environment = os.environ | {"PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1"}
        with self.log_file.open("wb") as log:
            self._process = subprocess.Popen(
                [str(word) for word in command],
                cwd=self.place.base,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End the server's process, gently first."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def kill(self) -> None:
        """End the server's process at once, as a power cut would: it cannot clean up."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def get(self, path: str, **query: str) -> bytes:
        """Return the body of a GET request to `path`."""
        url = f"{self.address}{path}" + (f"?{urllib.parse.urlencode(query)}" if query else "")
        return self._open(urllib.request.Request(url))

    def get_json(self, path: str, **query: str) -> Any:
        """Return what a GET request to `path` answers in JSON."""
        return json.loads(self.get(path, **query))

    def post(self, path: str, content: Any) -> Any:
        """Send `content` as JSON and return the answer, or None for an empty one."""
        body = json.dumps(content).encode()
        request = urllib.request.Request(self.address + path, body, {"Content-Type": "application/json"})
        answer = self._open(request)
        return json.loads(answer) if answer else None

    def queue(self, prompt: dict[str, Any]) -> str:
        """Queue a prompt in API format.

        Args:
            prompt: node id -> class_type and inputs

        Returns:
            prompt_id: to ask the history with

        Raises:
            WorkflowError: the server refused the prompt
        """
        try:
            return str(self.post("/prompt", {"prompt": prompt, "client_id": self.client})["prompt_id"])
        except urllib.error.HTTPError as error:
            raise WorkflowError(f"The server refused the prompt: {_refusal(error.read())}") from error

    def run(
        self, prompt: dict[str, Any], *, within: float = 600.0, on_wait: Callable[[float], None] | None = None
    ) -> dict[str, Any]:
        """Queue a prompt and wait until it is done.

        Args:
            prompt: node id -> class_type and inputs
            within: seconds
            on_wait: called with the seconds since the start, a few times each second

        Returns:
            entry: the history's entry; `entry["outputs"]` maps a node id to what it showed

        Raises:
            WorkflowError: the prompt was refused, a node failed, or time ran out
        """
        return self.finished(self.queue(prompt), within=within, on_wait=on_wait)

    def finished(
        self, prompt_id: str, *, within: float = 600.0, on_wait: Callable[[float], None] | None = None
    ) -> dict[str, Any]:
        """Wait until a queued prompt is done, and return the history's entry; arguments and errors as of `run`."""
        start = time.monotonic()
        while (waited := time.monotonic() - start) < within:
            history: dict[str, dict[str, Any]] = self.get_json(f"/history/{prompt_id}")
            if prompt_id in history:
                _raise_failure(history[prompt_id])
                return history[prompt_id]
            self._still_alive()
            if on_wait is not None:
                on_wait(waited)
            time.sleep(0.1)
        self.post("/interrupt", {})
        raise WorkflowError(f"The prompt has run for {within:.0f} s and is not done. Read {self.log_file}.")

    def view(self, image: dict[str, str]) -> bytes:
        """Return the bytes of a file that an output names by `filename`, `subfolder` and `type`."""
        return self.get("/view", **{key: image[key] for key in ("filename", "subfolder", "type")})

    def path_of(self, image: dict[str, str]) -> Path:
        """Return where a file that an output names lies on this machine."""
        return self.place.base / image["type"] / image["subfolder"] / image["filename"]

    def _open(self, request: urllib.request.Request) -> bytes:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=60) as answer:
            content: bytes = answer.read()
        return content

    def _wait(self) -> None:
        end = time.monotonic() + self.start_within
        while time.monotonic() < end:
            self._still_alive()
            try:
                self.get("/system_stats")
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                time.sleep(0.2)
            else:
                return
        raise TroubleError(f"ComfyUI is not up after {self.start_within:.0f} s. Its log ends:\n{self.log[-3000:]}")

    def _still_alive(self) -> None:
        if self._process is not None and self._process.poll() is not None:
            code = self._process.returncode
            raise TroubleError(f"ComfyUI ended with exit status {code}. Its log ends:\n{self.log[-3000:]}")


def install_pack(custom_nodes: Path) -> None:
    """Link this pack into a `custom_nodes` folder; copy it where links are not allowed."""
    custom_nodes.mkdir(parents=True, exist_ok=True)
    target = custom_nodes / PACK_FOLDER
    if target.exists():
        return
    try:
        target.symlink_to(ROOT, target_is_directory=True)
    except OSError:
        shutil.copytree(ROOT, target, ignore=shutil.ignore_patterns(".git", "__pycache__", ".*_cache"))


def install_picture(place: Place) -> None:
    """Put the picture that a new ComfyUI has in its input folder there, where Load Image finds it."""
    picture, folder = place.comfyui / "input" / "example.png", place.base / "input"
    if picture.is_file() and not (folder / picture.name).exists():
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(picture, folder)


def _refusal(body: bytes) -> str:
    answer = json.loads(body)
    lines = [f"{answer['error']['message']} {answer['error']['details']}".strip()]
    for node_id, node in (answer.get("node_errors") or {}).items():
        lines += [f"node {node_id} ({node['class_type']}): {e['message']} ({e['details']})" for e in node["errors"]]
    return "\n".join(lines)


def _raise_failure(entry: dict[str, Any]) -> None:
    if entry["status"]["status_str"] == "success":
        return
    for kind, detail in entry["status"]["messages"]:
        if kind == "execution_error":
            trace = "".join(detail["traceback"])
            who = f"Node {detail['node_id']} ({detail['node_type']})"
            raise WorkflowError(f"{who} failed: {detail['exception_message'].strip()}\n{trace}")
    raise WorkflowError(f"The prompt ended as {entry['status']['status_str']}.")
