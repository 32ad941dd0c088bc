"""Checks what a Countenance server says about its own use. It knows the formats and no server.

Imports the standard library and PyNaCl only, so that whoever does not trust the server's makers can read all of
it. The server imports this package, never the reverse.
"""

from typing import Final

__version__: Final = "0.1.0"
