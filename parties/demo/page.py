"""``entente ui``: Streamlit on a coordinator, which is started first where it is a demo's and not up."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import webbrowser
from pathlib import Path

from parties.cli.console import say
from parties.client import Client
from parties.demo.homes import DemoHomes
from parties.demo.processes import Processes, environment
from parties.demo.run import start_coordinator
from parties.errors import ConfigError, PeerError

__all__ = ["show_page"]

_ANSWER_SECONDS = 3.0
_GRACE_SECONDS = 5.0
_OPEN_TRIES = 120


def show_page(*, coordinator: str, credentials: Path | None, out: Path | None, port: int, browser: bool) -> int:
    """Serve the page until Ctrl-C; returns Streamlit's exit code. ``out`` names a demo, ``credentials`` an admin."""
    script = _script()
    with contextlib.closing(socket.socket()) as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise ConfigError(f"port {port} is in use; choose another with --port")
    with contextlib.ExitStack() as stack:
        if out is not None:
            homes = DemoHomes.load(out.resolve())
            credentials = homes.admin
            if not coordinator and not _answers(homes):
                start_coordinator(homes, stack.enter_context(Processes(homes.logs)))
        assert credentials is not None
        if not (credentials / "roster.json").is_file():
            raise ConfigError(f"{credentials}: no roster.json there; name the admin's folder with --credentials")
        say(f"Open http://127.0.0.1:{port} in a browser; stop with Ctrl-C.")
        command = [sys.executable, "-m", "streamlit", "run", str(script), f"--server.port={port}"]
        # headless: Streamlit otherwise asks for an e-mail address and advertises itself; the browser is opened here
        command += ["--server.address=127.0.0.1", "--server.headless=true", "--logger.hideWelcomeMessage=true"]
        places = {"ENTENTE_COORDINATOR": coordinator, "ENTENTE_CREDENTIALS": str(credentials.resolve())}
        # its settings lie beside the script, and Streamlit looks for them where it is started
        page = subprocess.Popen(command, env=environment() | places, cwd=script.parent)
        if browser:
            threading.Thread(target=_open_browser, args=(port,), daemon=True).start()
        return _until_it_ends(page)


def _open_browser(port: int) -> None:
    """Open the page once it answers, where this machine has a browser to open."""
    for _ in range(_OPEN_TRIES):
        with contextlib.closing(socket.socket()) as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                webbrowser.open(f"http://127.0.0.1:{port}")
                return
        time.sleep(0.25)


def _until_it_ends(page: subprocess.Popen[bytes]) -> int:
    def leave(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, leave)
    try:
        return page.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        page.terminate()
        try:
            page.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            os.kill(page.pid, signal.SIGKILL)
            page.wait()


def _answers(homes: DemoHomes) -> bool:
    """Whether the demo's own coordinator is up."""
    try:
        with Client("", homes.admin, timeout=_ANSWER_SECONDS) as client:
            client.coordinator()
    except PeerError:
        return False
    return True


def _script() -> Path:
    found = importlib.util.find_spec("ui")
    if found is None or not found.submodule_search_locations:
        raise ConfigError("the ui package is not installed: install Entente again")
    return Path(next(iter(found.submodule_search_locations))) / "app.py"
