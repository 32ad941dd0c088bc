"""Two operators of a running server, as people would come to be: made on the host, enrolled, logged in with a second
factor, each with a home of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyotp

from tests.e2e.conftest import Server

PASSWORD = "correct horse battery staple"
_known: dict[Path, Two] = {}


class Two:
    """Ann and Bea, who are logged in."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.secrets: dict[str, str] = {}
        for name in ("ann", "bea"):
            made = self.run("host", "operator", "create", name, "--role", "admin", "--reason", "tests", "--json")
            code = json.loads(made.stdout)["code"]
            said = f"{code}\n{PASSWORD}\n{PASSWORD}\n"
            enrolled = self.run("host", "operator", "enrol", name, "--json", said=said)
            address = json.loads(enrolled.stdout[enrolled.stdout.index("{") :])["otpauth"]
            self.secrets[name] = parse_qs(urlsplit(address).query)["secret"][0]
            self.run(name, "login", name, said=f"{PASSWORD}\n{pyotp.TOTP(self.secrets[name]).now()}\n")

    def run(self, who: str, *words: str, said: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
        """A command line of one of them, or of "host"."""
        home = self.server.data.parent / f"home-{who}"
        home.mkdir(exist_ok=True)
        done = subprocess.run(
            [sys.executable, "-m", "countenance", *words, "--data", str(self.server.data)],
            env=self.server.environment() | {"XDG_STATE_HOME": str(home), "HOME": str(home)},
            input=said,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert not check or done.returncode == 0, done.stderr
        return done

    def answer(self, who: str, *words: str) -> dict[str, Any]:
        """What it prints with --json."""
        found: dict[str, Any] = json.loads(self.run(who, *words, "--json").stdout)
        return found

    def decide(self, *words: str, reason: str = "tests") -> dict[str, Any]:
        """Ann proposes, Bea approves."""
        proposal = self.answer("ann", *words, "--reason", reason)["proposal"]
        return self.answer("bea", "proposal", "approve", proposal, "--yes")

    def screen(self, account: str) -> None:
        """The account's party is screened, with a list of one that is nobody's."""
        if not self.answer("host", "list", "list")["lists"]:
            file = self.server.data.parent / "list.json"
            listed = {"id": "1", "schema": "Company", "properties": {"name": ["Qwyxz Zzyzx"], "topics": ["sanction"]}}
            file.write_text(json.dumps(listed) + "\n")
            self.answer("host", "list", "import", str(file), "--list", "tests")
        self.answer("host", "party", "screen", account)

    def clear(self, account: str, *more: str) -> None:
        """The account may do what policies allow."""
        self.screen(account)
        sector = () if "--sector" in more else ("--sector", "retail")
        self.decide("account", "standing", account, "--set", "cleared", *sector, *more)


def two_of(server: Server) -> Two:
    """The two of a server, made once."""
    if server.data not in _known:
        _known[server.data] = Two(server)
    found = _known[server.data]
    found.server = server
    return found
