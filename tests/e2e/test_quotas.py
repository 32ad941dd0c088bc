"""Quotas seen by SDKs: a burst loses nothing, and more than the rate for long is refused at the rate."""

from __future__ import annotations

import re
import threading
import time
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from .conftest import Server, start

RATE = 50
BURST = 100
OFFERED = 200
SECONDS = 30.0
THREADS = 16
P99_S = 1.0
"""Of served calls: what is refused must not keep them waiting. Tens of milliseconds on an idle machine."""


def client_of(server: Server, retries: dict[str, Any]) -> Any:
    """As a team configures theirs."""
    key, secret = server.credentials
    return boto3.client(
        "rekognition",
        endpoint_url=server.endpoint,
        region_name="eu-west-2",
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        config=Config(retries=retries, max_pool_connections=BURST),
    )


def test_a_burst_beyond_the_rate_loses_no_call_of_an_sdk(tmp_path: Path) -> None:
    server = start(tmp_path / "data", environ={"COUNTENANCE_QUOTAS": f"ListCollections={RATE}"})
    try:
        client = client_of(server, {"mode": "adaptive", "max_attempts": 10})
        ended: list[int] = []

        def call() -> None:
            ended.append(client.list_collections()["ResponseMetadata"]["HTTPStatusCode"])

        threads = [threading.Thread(target=call) for _ in range(BURST)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        assert ended == [200] * BURST
    finally:
        assert server.stop() == 0


@pytest.mark.slow
def test_more_than_the_rate_for_long_is_served_at_the_rate(tmp_path: Path) -> None:
    server = start(tmp_path / "data", environ={"COUNTENANCE_QUOTAS": f"ListCollections={RATE}"})
    try:
        codes: Counter[str] = Counter()
        seconds: list[float] = []
        lock = threading.Lock()
        begun = time.perf_counter()

        def work(thread: int) -> None:
            client = client_of(server, {"mode": "standard", "total_max_attempts": 1})
            number = 0
            while (at := begun + (number * THREADS + thread) / OFFERED) < begun + SECONDS:
                time.sleep(max(0.0, at - time.perf_counter()))
                number += 1
                started = time.perf_counter()
                try:
                    client.list_collections()
                    code = "OK"
                except ClientError as error:
                    code = error.response["Error"]["Code"]
                took = time.perf_counter() - started
                with lock:
                    codes[code] += 1
                    if code == "OK":
                        seconds.append(took)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        p99 = sorted(seconds)[len(seconds) * 99 // 100]
        print(f"\noffered {sum(codes.values())} in {SECONDS:.0f} s: {dict(codes)}, p99 of served {p99 * 1000:.0f} ms")
        assert set(codes) == {"OK", "ThrottlingException"}
        assert p99 < P99_S
        assert codes["OK"] / SECONDS == pytest.approx(RATE, rel=0.05)
        with urllib.request.urlopen(f"{server.endpoint}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        counted = {
            outcome: int(float(count))
            for outcome, count in re.findall(
                r'^countenance_calls_total{operation="ListCollections",outcome="(\w+)"} (\S+)$', text, re.MULTILINE
            )
        }
        assert counted == dict(codes)
    finally:
        assert server.stop() == 0
