"""One modified operator per cheat, and the outsider who notices: docs/concepts/threat-model.md, first table."""

from __future__ import annotations

import dataclasses
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from countenance_audit import receipt as receipts
from countenance_audit.leaf import make_opening
from countenance_audit.merkle import leaf_hash
from countenance_audit.note import Signer

from countenance.ledger import LogBehind, Public, Recorded
from countenance.ledger.history import HIGH_WATER

from .operator import Operator, audit, kept

THREAT_MODEL = Path(__file__).parents[2] / "docs/concepts/threat-model.md"
ELSEWHERE = {
    "invented-call": "a statement's leaf without a receipt; nothing to compute",
}
"""Of the first table, what no program detects here, or another test shows."""


@pytest.fixture
def operator(tmp_path: Path) -> Iterator[Operator]:
    made = Operator(tmp_path / "server")
    yield made
    made.close()


@pytest.fixture
def second(tmp_path: Path, operator: Operator) -> Iterator[Operator]:
    """The same log as it was after three calls, gone on differently."""
    for number in range(3):
        operator.call(number)
    operator.log.publish()
    shutil.copytree(operator.folder, tmp_path / "second", ignore=shutil.ignore_patterns("*-shm", HIGH_WATER))
    made = Operator(tmp_path / "second", now=operator.now)
    yield made
    made.close()


def test_an_honest_operator_is_believed(operator: Operator, tmp_path: Path) -> None:
    recorded = operator.call(1)
    trust = operator.policy(tmp_path / "policy")
    status, said = audit("receipt", "verify", *kept(tmp_path, recorded, 1, operator.answer(recorded)), "--trust", trust)
    assert (status, said["included"], said["evidence"]) == (0, True, None)
    operator.show(tmp_path / "shown")
    assert audit("mirror", tmp_path / "shown", tmp_path / "mirror", "--trust", trust)[0] == 0


def test_fork(operator: Operator, second: Operator, tmp_path: Path) -> None:
    for number in (10, 11):
        operator.call(number)
    for number in (20, 21, 22):
        second.call(number)
    trust = operator.policy(tmp_path / "policy")
    (tmp_path / "old").write_bytes(operator.show(tmp_path / "to-one"))
    (tmp_path / "new").write_bytes(second.show(tmp_path / "to-another"))
    words = ("consistency", tmp_path / "old", tmp_path / "new", "--trust", trust, "--log")
    assert audit(*words, tmp_path / "to-another")[0] == 1
    assert audit("mirror", tmp_path / "to-one", tmp_path / "mirror", "--trust", trust)[0] == 0
    assert audit("mirror", tmp_path / "to-another", tmp_path / "mirror", "--trust", trust)[0] == 1


def test_own_witnesses(operator: Operator, tmp_path: Path) -> None:
    operator.call(1)
    trust = operator.policy(tmp_path / "policy", witnessed=True)
    (tmp_path / "note").write_bytes(operator.show(tmp_path / "shown", cosigned_at=1_700_000_100))
    assert audit("checkpoint", "verify", tmp_path / "note", "--trust", trust)[0] == 0
    # Cosigned by keys of the operator's, under the names that the policy has.
    from countenance_audit.checkpoint import cosign

    _, note = operator.log.publish()
    for name in ("a", "b"):
        note += cosign(note, Signer(f"witness.example/{name}", name.encode() * 32), 1_700_000_100).encode()
    (tmp_path / "note").write_bytes(note)
    status, said = audit("checkpoint", "verify", tmp_path / "note", "--trust", trust)
    assert status != 0
    assert said.get("quorum") is not True


def test_rollback(operator: Operator, tmp_path: Path) -> None:
    trust = operator.policy(tmp_path / "policy")
    operator.call(1)
    operator.log.publish()
    older = (operator.folder / "countenance.db", tmp_path / "older.db")
    operator.database.truncate_wal()
    shutil.copy(*older)
    operator.call(2)
    operator.show(tmp_path / "shown")
    assert audit("mirror", tmp_path / "shown", tmp_path / "mirror", "--trust", trust)[0] == 0
    operator.close()
    shutil.copy(older[1], older[0])
    with pytest.raises(LogBehind):  # the server itself, unless he removes the high-water file as well
        Operator(operator.folder)
    (operator.folder / HIGH_WATER).unlink()
    for file in operator.folder.glob("countenance.db-*"):
        file.unlink()
    back = Operator(operator.folder, now=operator.now)
    try:
        shutil.rmtree(tmp_path / "shown")
        back.show(tmp_path / "shown")
        assert audit("mirror", tmp_path / "shown", tmp_path / "mirror", "--trust", trust)[0] == 1
        for number in range(5, 9):
            back.call(number)
        back.show(tmp_path / "grown")
        assert audit("mirror", tmp_path / "grown", tmp_path / "mirror", "--trust", trust)[0] == 1
    finally:
        back.close()


def test_rewritten_leaf(operator: Operator, tmp_path: Path) -> None:
    trust = operator.policy(tmp_path / "policy")
    for number in range(5):
        operator.call(number)
    operator.show(tmp_path / "shown")
    assert audit("mirror", tmp_path / "shown", tmp_path / "mirror", "--trust", trust)[0] == 0
    other = bytes([1]) + bytes(32)
    operator.database.maintain(
        lambda connection: connection.execute("UPDATE log_leaves SET leaf = ? WHERE idx = 2", (other,)).close()
    )
    operator.log._tree = operator.log._loaded()
    operator.log.append(Public({"kind": "heartbeat", "cosigned": None}))
    operator.show(tmp_path / "again")
    assert audit("mirror", tmp_path / "again", tmp_path / "mirror", "--trust", trust)[0] == 1


def test_altered_tiles(operator: Operator, tmp_path: Path) -> None:
    trust = operator.policy(tmp_path / "policy")
    for number in range(5):
        operator.call(number)
    operator.show(tmp_path / "shown")
    bundle = next((tmp_path / "shown/tile/entries").rglob("000.p/*"))
    content = bytearray(bundle.read_bytes())
    content[-1] ^= 1
    bundle.write_bytes(content)
    assert audit("mirror", tmp_path / "shown", tmp_path / "mirror", "--trust", trust)[0] == 1


def test_malformed_leaf(operator: Operator, tmp_path: Path) -> None:
    """A leaf of no known form stands for a call that nobody can open."""
    trust = operator.policy(tmp_path / "policy")
    operator.call(1)
    index = operator.log.size - 1
    other = bytes([2]) + bytes(32)
    operator.database.maintain(
        lambda connection: connection.execute("UPDATE log_leaves SET leaf = ? WHERE idx = ?", (other, index)).close()
    )
    operator.log._tree = operator.log._loaded()
    operator.log.append(Public({"kind": "heartbeat", "cosigned": None}))
    operator.show(tmp_path / "shown")
    status, said = audit("mirror", tmp_path / "shown", tmp_path / "mirror", "--trust", trust)
    assert status == 1
    assert (index, True) in [(each["index"], each["serious"]) for each in said["findings"]]


def test_missing_receipt(operator: Operator, tmp_path: Path) -> None:
    """The answer came without the header: there is nothing to verify, and whoever looks sees that."""
    words = kept(tmp_path, operator.call(1), 1)
    (tmp_path / "receipt").write_text("")
    status, said = audit("receipt", "verify", *words, "--trust", operator.policy(tmp_path / "policy"))
    assert status not in (0, 3)
    assert said["error"]


def test_withheld_opening(operator: Operator, tmp_path: Path) -> None:
    """The leaf's place is shown without it; whose account the call is booked to is not."""
    recorded = operator.call(1)
    operator.show(tmp_path / "shown")
    words = kept(tmp_path, recorded, 1)
    mine = ("--account", "123456789012", "--log", tmp_path / "shown")
    status, said = audit("receipt", "verify", *words, "--trust", operator.policy(tmp_path / "policy"), *mine)
    assert status == 3
    assert said["included"] is True
    assert any("which account the call is booked to (no opening was given)" in line for line in said["notes"])


def test_hidden_downtime(operator: Operator, tmp_path: Path) -> None:
    """An hour without a heartbeat, and no entry says why: it is listed for a person to judge."""
    trust = operator.policy(tmp_path / "policy")
    operator.log.append(Public({"kind": "heartbeat", "cosigned": None}))
    operator.now += 3_600_000_000
    operator.log._offset += 3_600_000_000
    operator.log.append(Public({"kind": "heartbeat", "cosigned": None}))
    operator.show(tmp_path / "shown")
    status, said = audit("mirror", tmp_path / "shown", tmp_path / "mirror", "--trust", trust)
    assert status == 0
    assert any(each["kind"] == "heartbeat" and not each["serious"] for each in said["findings"])


def test_withheld_leaf(operator: Operator, second: Operator, tmp_path: Path) -> None:
    """The receipt is given by an instance whose log nobody else sees."""
    recorded = second.call(7)
    trust = operator.policy(tmp_path / "policy", witnessed=True)
    words = kept(tmp_path, recorded, 7)
    soon, late = recorded.place.time // 1_000_000 + 30, recorded.place.time // 1_000_000 + 61
    operator.show(tmp_path / "soon", cosigned_at=soon)
    assert audit("receipt", "verify", *words, "--trust", trust, "--log", tmp_path / "soon")[0] == 3
    operator.show(tmp_path / "late", cosigned_at=late)
    status, said = audit("receipt", "verify", *words, "--trust", trust, "--log", tmp_path / "late")
    assert (status, said["evidence"]) == (1, "absent")


def test_other_leaf(operator: Operator, second: Operator, tmp_path: Path) -> None:
    recorded = second.call(7)
    operator.call(8)
    operator.show(tmp_path / "shown")
    trust = operator.policy(tmp_path / "policy")
    words = kept(tmp_path, recorded, 7)
    status, said = audit("receipt", "verify", *words, "--trust", trust, "--log", tmp_path / "shown")
    assert (status, said["evidence"]) == (1, "other-leaf")


def test_leaf_differs_from_call(operator: Operator, tmp_path: Path) -> None:
    """He logs another answer than the one he gives, and signs a receipt for the one he gives."""
    recorded = operator.call(1, response="00" * 32)
    honest = receipts.parse(recorded.receipt)
    given = operator.call(2)  # for the form of a receipt with the hashes of the answer given
    claimed = dataclasses.replace(
        receipts.parse(given.receipt), id=honest.id, index=honest.index, leaf=honest.leaf, request=honest.request,
        time=honest.time, include_by=honest.include_by,
    )  # fmt: skip
    lying = Recorded(recorded.place, receipts.sign(claimed, operator.log.signer))
    (tmp_path / "response 2").touch()
    words = kept(tmp_path, lying, 1, operator.answer(recorded))
    (tmp_path / "response").write_bytes(b"response 2")
    status, said = audit("receipt", "verify", *words, "--trust", operator.policy(tmp_path / "policy"))
    assert (status, said["evidence"]) == (1, "other-content")


def test_leaf_differs_from_call_and_another_opening_is_shown(operator: Operator, tmp_path: Path) -> None:
    recorded = operator.call(1, operation="ListCollections")
    true = operator.log.opening(recorded.place.index)
    assert true is not None
    shown = make_opening(dict(true.accounting) | {"operation": "SearchFacesByImage"}, true.person)
    words = kept(tmp_path, recorded, 1, operator.answer(recorded, shown))
    assert audit("receipt", "verify", *words, "--trust", operator.policy(tmp_path / "policy"))[0] == 1


def test_misattributed_call(operator: Operator, tmp_path: Path) -> None:
    recorded = operator.call(1, account="999999999999", access_key="AKCNOWNER")
    words = kept(tmp_path, recorded, 1, operator.answer(recorded))
    trust = operator.policy(tmp_path / "policy")
    assert audit("receipt", "verify", *words, "--trust", trust)[0] == 0  # who does not say who he is learns nothing
    mine = ("--account", "123456789012", "--access-key", "AKCNVICTIM")
    status, said = audit("receipt", "verify", *words, "--trust", trust, *mine)
    assert status == 1
    assert any("booked to account 999999999999" in line for line in said["notes"])
    honest = kept(tmp_path, operator.call(2), 2, None)
    recorded = operator.call(3)
    honest = kept(tmp_path, recorded, 3, operator.answer(recorded))
    assert audit("receipt", "verify", *honest, "--trust", trust, *mine)[0] == 0


def test_backdating(operator: Operator, tmp_path: Path) -> None:
    trust = operator.policy(tmp_path / "policy")
    operator.call(1)
    operator.log.append(Public({"kind": "heartbeat", "cosigned": None}))
    operator.log._last_time = 0  # the one line that keeps times in order, taken out
    operator.now -= 86_400_000_000
    operator.log._offset -= 86_400_000_000
    operator.log.append(Public({"kind": "policy", "in_force": "since yesterday"}))
    operator.show(tmp_path / "shown")
    status, said = audit("mirror", tmp_path / "shown", tmp_path / "mirror", "--trust", trust)
    assert any("time" in each["text"] for each in said["findings"])
    assert status == 1


def test_backdating_of_an_opaque_leaf_is_seen_by_the_receipt_s_holder(operator: Operator, tmp_path: Path) -> None:
    recorded = operator.call(1)
    late = receipts.parse(recorded.receipt)
    claimed = dataclasses.replace(late, time=late.time + 86_400_000_000, include_by=late.include_by + 86_400_000_000)
    lying = Recorded(recorded.place, receipts.sign(claimed, operator.log.signer))
    words = kept(tmp_path, lying, 1, operator.answer(recorded))
    status, said = audit("receipt", "verify", *words, "--trust", operator.policy(tmp_path / "policy"))
    assert (status, said["evidence"]) == (1, "other-content")


def test_every_cheat_of_the_threat_model_s_first_table_is_here_or_named(request: pytest.FixtureRequest) -> None:
    first = THREAT_MODEL.read_text("utf-8").split("## Cheats that the log itself shows")[1].split("\n## ")[0]
    listed = set(re.findall(r"^\| `([a-z-]+)` \|", first, re.MULTILINE))
    tested = {name.removeprefix("test_").replace("_", "-") for name in globals() if name.startswith("test_")}
    assert listed - tested == set(ELSEWHERE)


def test_leaves_have_the_hashes_that_receipts_name(operator: Operator) -> None:
    recorded = operator.call(1)
    (leaf,) = operator.log.storage.leaves(recorded.place.index, recorded.place.index + 1)
    assert receipts.parse(recorded.receipt).leaf == leaf_hash(leaf).hex()
