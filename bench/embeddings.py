"""What an embedding costs by where it comes from: an engine, the shared cache, or the broker.

    python -m bench.embeddings --key KEY --model NAME URL OTHER_URL

asks the broker at URL for texts that nobody has asked for (miss), the one at OTHER_URL for
the same (hit_shared), and that one again (hit).
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence

import httpx

WORDS = ("the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "at", "dusk")


def texts(count: int) -> list[str]:
    """As many texts of 40 words that were never asked for."""
    salt = os.urandom(4).hex()
    return [
        f"{salt} {number} " + " ".join(WORDS[(number + n) % len(WORDS)] for n in range(38))
        for number in range(count)
    ]


def percentile(values: Sequence[float], part: float) -> float:
    """Nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def asked(client: httpx.Client, url: str, model: str, inputs: Sequence[str]) -> list[float]:
    """Milliseconds of each request, one text in each, one after the other."""
    times = []
    for text in inputs:
        body = {"model": model, "input": text, "encoding_format": "base64"}
        begun = time.perf_counter()
        client.post(f"{url}/v1/embeddings", json=body).raise_for_status()
        times.append((time.perf_counter() - begun) * 1000)
        # The cache is written beside the answer.
        time.sleep(0.005)
    return times


def main() -> None:
    """Prints a table row for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("other_url")
    parser.add_argument("--key", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--count", type=int, default=60)
    options = parser.parse_args()
    headers = {"Authorization": f"Bearer {options.key}"}
    inputs = texts(options.count)
    with httpx.Client(headers=headers, timeout=60, trust_env=False) as client:
        for url in (options.url, options.other_url):
            asked(client, url, options.model, ["warm", "warm", "warm"])
        rows = {
            "miss: an engine": asked(client, options.url, options.model, inputs),
            "hit_shared: the cache's Redis": asked(
                client, options.other_url, options.model, inputs
            ),
            "hit: the broker's memory": asked(client, options.other_url, options.model, inputs),
        }
    for name, times in rows.items():
        print(f"| {name} | {percentile(times, 0.5):.1f} | {percentile(times, 0.99):.1f} |")


if __name__ == "__main__":
    main()
