"""``entente ui``: Streamlit on a coordinator; a demo's is started first, with its parties' nodes, if it is not up."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
import time
import webbrowser
from datetime import timedelta
from pathlib import Path

from parties.client import DESK, Client
from parties.coordinator.desk.enrol import enrol_desk
from parties.coordinator.desk.granting import grant_token
from parties.demo.homes import DemoHomes
from parties.demo.processes import Processes, environment
from parties.demo.run import start_coordinator, start_parties
from parties.errors import ConfigError, PeerError, SignInError
from parties.process.supervision import start_task
from parties.terminal.console import pasted, say

__all__ = ["show_page"]

_ANSWER_SECONDS = 3.0
_GRACE_SECONDS = 5.0
_OPEN_TRIES = 120
_BASE_PATH = re.compile(r"[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*")
_LINK_VALID = timedelta(days=1)


def show_page(
    *,
    coordinator: str,
    credentials: Path | None,
    out: Path | None,
    port: int,
    browser: bool,
    base_path: str = "",
    secrets: Path | None = None,
) -> int:
    """Serve the page until Ctrl-C; returns Streamlit's exit code. ``out`` names a demo, ``credentials`` the desk.

    ``base_path``: below which a proxy serves the page. On a demo, whoever may read this output is its admin: the link
    that is printed signs in, once.
    """
    script = _script()
    if secrets is not None and not secrets.is_file():
        raise ConfigError(f"{secrets}: no such file; name Streamlit's secrets.toml with --secrets")
    below = base_path.strip("/")
    if below and not _BASE_PATH.fullmatch(below):
        raise ConfigError(f"--base-path {base_path!r}: write a path such as /desk: letters, digits, -, _ and /")
    address = f"http://127.0.0.1:{port}" + (f"/{below}" if below else "")
    link = address
    homes = None if out is None else DemoHomes.load(out.resolve())
    _check_free(port)
    with contextlib.ExitStack() as stack:
        if homes is not None:
            credentials = homes.desk
            if not (homes.desk / "keys").is_dir():
                enrol_desk(homes.coordinator, homes.desk)
            if not coordinator and not _answers(homes):
                say("Starting the coordinator and the nodes of the demo's parties: New run goes to its end here.")
                processes = stack.enter_context(Processes(homes.logs))
                start_coordinator(homes, processes)
                start_parties(homes, processes)
            token = grant_token(homes.coordinator, name="Demo admin", role="admin", party="", valid=_LINK_VALID)
            link = f"{address}/sign-in?token={token}"
        assert credentials is not None
        if not (credentials / "roster.json").is_file():
            raise ConfigError(f"{credentials}: no roster.json there; name the desk's folder with --credentials")
        say(f"Open {link} in a browser; stop with Ctrl-C.")
        if homes is not None:
            say(
                "The link signs in once, within a day. "
                f"Another: entente ui token --home {pasted(homes.coordinator)} ..."
            )
        command = [sys.executable, "-P", "-m", "streamlit", "run", str(script), f"--server.port={port}"]
        # headless: Streamlit otherwise asks for an e-mail address and advertises itself; the browser is opened here
        command += ["--server.address=127.0.0.1", "--server.headless=true", "--logger.hideWelcomeMessage=true"]
        command.append(f"--server.baseUrlPath={below}")
        if secrets is not None:
            command.append(f"--secrets.files={secrets.resolve()}")
        places = {"ENTENTE_COORDINATOR": coordinator, "ENTENTE_DESK": str(credentials.resolve())}
        # its settings lie beside the script, and Streamlit looks for them where it is started
        page = subprocess.Popen(command, env=environment() | places, cwd=script.parent)
        if browser:
            start_task(lambda: _open_browser(port, link), "browser", lambda error: None)
        return _until_it_ends(page)


def _check_free(port: int) -> None:
    with contextlib.closing(socket.socket()) as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise ConfigError(f"port {port} is in use; choose another with --port")


def _open_browser(port: int, link: str) -> None:
    """Open the page once it answers, where this machine has a browser to open."""
    for _ in range(_OPEN_TRIES):
        with contextlib.closing(socket.socket()) as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                webbrowser.open(link)
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
        with Client("", homes.desk, name=DESK, timeout=_ANSWER_SECONDS) as client:
            client.coordinator()
    except SignInError:
        return True
    except PeerError:
        return False
    return True


def _script() -> Path:
    found = importlib.util.find_spec("ui")
    if found is None or not found.submodule_search_locations:
        raise ConfigError("the ui package is not installed: install Entente again")
    return Path(next(iter(found.submodule_search_locations))) / "website.py"
