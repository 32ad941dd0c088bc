"""The root of every error this project raises on purpose.

A message says what happened, a hint says what to do about it. Nothing here knows HTTP, AWS or SQL: which
code a client sees is decided in `operations.faults`, and an error that is not an `Error` is a bug there.

    Error
    +-- config.SettingsError           a setting is unknown or has a bad value
    +-- store.DatabaseError            the database cannot be opened, read or written
    +-- store.KeyringError             the master key is missing, readable by others or wrong
    +-- recognition.RecognitionError   an image or a model pack cannot be used
    +-- gallery.GalleryError           a collection or reference is missing, present or of another model
    +-- accounts.AccountError          an account or access key is unknown
    +-- operators.OperatorError        an operator cannot be made, or may not do that
    +-- operators.SessionError         nobody is logged in, or the login failed
    +-- operators.ProposalError        something cannot be proposed, approved or withdrawn
    +-- policy.PolicyError             a policy set cannot be read or used
    +-- standing.*                     a list, a statement or a document is missing or wrong, or the extra is
    +-- samples.SampleError            an image cannot be kept, found or opened
    +-- sources.SourceError            an S3 object cannot be had
    +-- operations.faults.*            a call asks for what is not there (a face, a user, a resource)
    +-- wire.Fault                     what a client is told, already worded for it
    +-- wire.WireBug                   a value the service model does not allow was about to be sent
"""

from __future__ import annotations


class Error(Exception):
    """Something a person can understand and mend.

    Args:
        message: what happened, one sentence, safe to show to whoever made the call.
        hint: what to do about it; shown to operators and on the command line, never sent to a client.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message
