"""The command line: `countenance NOUN VERB`.

Knows how people and scripts talk to the server: data on stdout, talk on stderr, `--json` everywhere, exit
status 0 yes, 1 no, 2 usage, 3 could not decide, 130 stopped by Ctrl-C. Must not decide anything about faces:
verbs that Amazon Rekognition has go over HTTP, administrative ones through `admin_client`.
"""

from __future__ import annotations

from countenance.cli.tree import main

__all__ = ["main"]
