"""What was done, in an append-only record."""

from countenance.ledger.outbox import Consumer

__all__ = ["Consumer"]
