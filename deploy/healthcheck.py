"""Is the server in this container alive? Status 0 when GET /healthz answers 200, else 1 and why.

Standard library only, and nothing of ours: it runs every few seconds. It reads the two settings that matter to it from
the environment; when they are in a settings file instead, give it the address: healthcheck.py https://localhost:9000
"""

import os
import ssl
import sys
import urllib.error
import urllib.request

TIMEOUT_S = 4


def address() -> str:
    """Where the server of this container listens."""
    if len(sys.argv) > 1:
        return sys.argv[1].rstrip("/")
    scheme = "https" if os.environ.get("COUNTENANCE_TLS_CERT") else "http"
    return f"{scheme}://127.0.0.1:{os.environ.get('COUNTENANCE_PORT', '8080')}"


def main() -> int:
    """Asks once; no proxy is asked, and a certificate made out to the outside name is good enough on loopback."""
    unchecked = ssl.create_default_context()
    unchecked.check_hostname = False
    unchecked.verify_mode = ssl.CERT_NONE
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=unchecked)
    )
    try:
        with opener.open(f"{address()}/healthz", timeout=TIMEOUT_S):
            return 0
    except (OSError, ValueError) as error:
        sys.stderr.write(f"not alive: {error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
