"""The whole register as it stands, to be compared with what the acts in the log made of it (`ledger fsck`).

Reads; decides nothing. What a thing is called and which members it has is the same in `ledger.acts`.
"""

from __future__ import annotations

from countenance.accounts import parties
from countenance.store import Connection

Things = dict[tuple[str, ...], dict[str, int | str]]
"""Kind and identifiers of a thing -> what entries say of it."""


def held(connection: Connection) -> Things:
    """Accounts, keys, bucket grants and declarations, from one snapshot."""
    found: Things = {}
    for account_id, name, is_owner in connection.execute("SELECT account_id, name, is_owner FROM account"):
        found["account", account_id] = {"name": name, "owner": is_owner}
    for key_id, account_id, purpose, holder, revoked in connection.execute(
        "SELECT access_key_id, account_id, purpose, holder, revoked_at IS NOT NULL FROM access_key"
    ):
        found["key", key_id] = {"account": account_id, "purpose": purpose, "holder": holder, "revoked": revoked}
    for account_id, bucket in connection.execute("SELECT account_id, bucket FROM bucket_grant"):
        found["bucket", account_id, bucket] = {}
    for (account_id, version), digest in parties.digests(connection).items():
        found["party", account_id, str(version)] = {"sha256": digest}
    return found
