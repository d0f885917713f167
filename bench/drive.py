"""Loads one server with wrk, and says what a request cost it."""
import os
import re
import subprocess

SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "post.lua")
UNITS = {"us": 0.001, "ms": 1, "s": 1000, "m": 60_000}


def load(process, url, connections, seconds, warm_up=1, body=None):
    """Requests a second, latencies, CPU microseconds a request, and how many were not answered with 2xx."""
    if warm_up:
        wrk(url, connections, warm_up, body)
    before = process.cpu_seconds()
    out = wrk(url, connections, seconds, body)
    spent = process.cpu_seconds() - before
    # In wrk's own words, over its own time.
    requests, took = re.search(r"(\d+) requests in ([\d.]+)s", out).groups()
    requests, took = int(requests), float(took)
    at = {share: milliseconds(value) for share, value in re.findall(r"^ +(50|99)% +(\S+)", out, re.MULTILINE)}
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
    lost = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", out)
    return {
        "requests_per_second": round(requests / took, 1),
        "p50_ms": at.get("50"),
        "p99_ms": at.get("99"),
        "cpu_us_per_request": round(spent / max(requests, 1) * 1e6, 1),
        "failed": (int(bad.group(1)) if bad else 0) + sum(map(int, lost.groups()) if lost else [0]),
        "requests": requests,
    }


def wrk(url, connections, seconds, body=None):
    command = ["wrk", "-t2", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "--latency", "-s", SCRIPT, url]
    done = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ, BODY=body) if body else None)
    if done.returncode != 0:
        raise RuntimeError(f"wrk: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def milliseconds(text):
    value, unit = re.match(r"([\d.]+)(us|ms|s|m)", text).groups()
    return float(value) * UNITS[unit]
