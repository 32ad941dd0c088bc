"""An office on a real log, and people in it who have authenticators."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyotp
from tests.unit.ledger.logs import NOW_S, Opened

from countenance.ledger.journal import Journal
from countenance.operators import Act, Office
from countenance.operators.state import HOST

PASSWORD = "correct horse battery"
STANDING: dict[str, int | str] = {"standing": "cleared", "sector": "retail", "end_user_sectors": ""}


class House:
    """An office on a real log, opened as often as a test wants."""

    def __init__(self, folder: Path) -> None:
        self.log = Opened(folder)
        self.now_us = NOW_S * 1_000_000
        self.secrets: dict[str, str] = {}
        self.count = 0
        self.open()

    def open(self) -> Office:
        self.office = Office(self.log.database, self.log.keyring, Journal(self.log.log), now_us=lambda: self.now_us)
        return self.office

    def again(self) -> Office:
        self.log.again()
        return self.open()

    @property
    def request(self) -> str:
        self.count += 1
        return f"r{self.count}"

    def make(self, handle: str, *roles: str, enrolled: bool = True) -> None:
        code, proposal = self.office.create(handle, roles or ("admin",), by=HOST, reason="x", request_id=self.request)
        assert not proposal
        if enrolled:
            self.enrol(handle, code)

    def enrol(self, handle: str, code: str, password: str = PASSWORD) -> None:
        address = self.office.enrol(handle, code, password, request_id=self.request)
        self.secrets[handle] = parse_qs(urlsplit(address).query)["secret"][0]

    def one_time(self, handle: str, later_s: int = 0) -> str:
        return pyotp.TOTP(self.secrets[handle]).at(self.now_us // 1_000_000 + later_s)

    def forge(self, operation: str, account: str, details: dict[str, Any]) -> Office:
        """An act that got into the log past this program, under the next number."""
        said = {**details, "number": self.office.state.number + 1}
        Journal(self.log.log).append(operation, account, "forged", self.now_us, said)
        return self.again()

    def edit(self, statement: str, *values: object) -> Office:
        """What somebody does to the database by hand; then the server starts again."""
        self.log.database.maintain(lambda connection: connection.execute(statement, values).close())
        return self.again()

    def decide(self, kind: str, by: str = "ann", approver: str = "bea", **details: Any) -> Act:
        """Two operators decide."""
        return self.office.approve(self.propose(by, kind, **details), by=approver, request_id=self.request)

    def login(self, handle: str, password: str = PASSWORD) -> str:
        self.now_us += 30_000_000
        return self.office.login(handle, password, self.one_time(handle), request_id=self.request)

    def propose(self, by: str = "ann", kind: str = "account.standing", **details: Any) -> str:
        words = details or STANDING
        account = "123456789012" if kind == "account.standing" else ""
        return self.office.propose(kind, account, words, by=by, reason="file 12", request_id=self.request).id
