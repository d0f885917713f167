"""The seven measures. Each takes a bench (what was built, a folder, how long) and returns plain data."""
import http.client
import json
import os
import re
import subprocess
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from statistics import median

from drive import load
from processes import get, post, running


def store(bench):
    """The store alone, next to the disk's own pace, and without a disk."""
    ran = {"disk": {"fsync_per_second": fsyncs(bench.folder), "store": store_rates(bench, bench.folder)}}
    if os.access("/dev/shm", os.W_OK):
        with tempfile.TemporaryDirectory(dir="/dev/shm") as memory:
            ran["memory"] = {"fsync_per_second": fsyncs(memory), "store": store_rates(bench, memory)}
    return ran


def store_rates(bench, folder):
    out = subprocess.run([bench.store_bench, str(bench.seconds(4)), folder], capture_output=True, text=True, check=True).stdout
    rates = re.findall(r"(\d+) commits, +(\d+) clients: +(\d+) tasks/s", out)
    return {f"{commits} commits, {clients} clients": int(rate) for commits, clients, rate in rates}


def fsyncs(folder):
    """How many appends of 4 KiB a second reach the disk one after the other: the median of ten short runs."""
    rates = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(10):
            began, count = time.monotonic(), 0
            while time.monotonic() - began < 0.1:
                os.write(file.fileno(), bytes(4096))
                os.fdatasync(file.fileno())
                count += 1
            rates.append(count / (time.monotonic() - began))
    return round(median(rates))


def gateway(bench):
    """POST /tools/NAME/invoke beside a bare reverse proxy to the same tool, in turns; and a call as a run makes it, without HTTP before it."""
    seconds, turns = bench.seconds(6), []
    body = json.dumps({"agent": "calls", "arguments": {"query": "x"}})
    with bench.mock() as mock, bench.floor(mock) as floor, bench.node(mock, fresh=True) as node:
        for _ in range(bench.rounds):
            turn = {"proxy": load(floor, f"http://127.0.0.1:{floor.port}/proxy", 64, seconds, body=body)}
            for tool in ("page", "act"):
                turn[tool] = load(node, f"http://127.0.0.1:{node.port}/tools/{tool}/invoke", 64, seconds, body=body)
            turns.append(turn)
    out = subprocess.run([bench.gateway_bench, str(bench.seconds(3))], capture_output=True, text=True, check=True).stdout
    ratio = lambda tool, figure: median(turn[tool][figure] / turn["proxy"][figure] for turn in turns)
    ratios = {tool: {"cpu": ratio(tool, "cpu_us_per_request"), "requests_per_second": ratio(tool, "requests_per_second")} for tool in ("page", "act")}
    inside = int(re.search(r"median: (\d+) %", out).group(1)) / 100
    return {"turns": turns, "ratios_to_proxy": ratios, "inside_a_run": inside}


def bombs(bench):
    """Two thousand schemas made to be too much, one after the other: how long each takes, and what is held at the fullest."""
    out = subprocess.run([bench.bomb_bench], capture_output=True, text=True, check=True).stdout
    refused, handled = map(int, re.search(r"(\d+) refused, (\d+) handled", out).groups())
    median_ms, almost_all_ms, longest_ms = map(float, re.search(r"median ([\d.]+), 99 % ([\d.]+), longest ([\d.]+)", out).groups())
    more_mib = int(re.search(r"fullest: (\d+) more", out).group(1))
    longest = re.search(r"ms  (.+)", out).group(1)
    return {
        "refused": refused, "handled": handled, "more_mib": more_mib,
        "median_ms": median_ms, "almost_all_ms": almost_all_ms, "longest_ms": longest_ms, "longest": longest,
    }


def run(bench):
    """POST /run with one model call: the floor and the node in turns, ratios within each turn."""
    seconds, turns = bench.seconds(6), []
    with bench.mock() as mock, bench.floor(mock) as floor, bench.node(mock) as node:
        for _ in range(bench.rounds):
            turn = {"fsync_per_second": fsyncs(bench.folder)}
            turn["floor"] = load(floor, f"http://127.0.0.1:{floor.port}/run", bench.connections, seconds)
            for agent in ("plain", "streamed"):
                turn[agent] = load(node, f"http://127.0.0.1:{node.port}/agents/{agent}/run", bench.connections, seconds)
            turns.append(turn)
        rss_mib = round(node.rss_mib(), 1)

    def ratio(agent, figure):
        return round(median(turn[agent][figure] / turn["floor"][figure] for turn in turns), 2)

    ratios = {
        agent: {"cpu": ratio(agent, "cpu_us_per_request"), "requests_per_second": ratio(agent, "requests_per_second")}
        for agent in ("plain", "streamed")
    }
    return {"connections": bench.connections, "ratios_to_floor": ratios, "rss_mib_after": rss_mib, "turns": turns}


def start(bench):
    """From the start of the process to /ready, on a new and on an existing database, and what it holds when idle."""
    new, existing = [], []
    with bench.mock() as mock:
        for _ in range(bench.starts):
            with bench.node(mock, fresh=True) as node:
                new.append(node.ready_ms)
            with bench.node(mock) as node:
                existing.append(node.ready_ms)
        with bench.node(mock) as node:
            time.sleep(2)
            idle = node.rss_mib()
    return {"ready_ms": round(median(new), 1), "ready_ms_existing": round(median(existing), 1), "idle_rss_mib": round(idle, 1)}


def flight(bench):
    """Ten thousand tasks on a slow model: accepted and left alone, then with ten thousand callers that wait."""
    tasks = 500 if bench.quick else 10_000
    with bench.mock() as mock, bench.node(mock, fresh=True) as node:
        before = node.rss_mib()
        with sampled(node) as samples:
            # The model takes 20 s, so that all of them are there at once however slow this machine accepts them.
            submit(node.port, "/agents/slow/tasks", tasks)
            in_flight = wait_for_peak(mock, tasks)
        alone = {"in_flight": in_flight, "rss_mib": round(max(samples), 1), "rss_mib_before": round(before, 1)}
    with bench.mock() as mock, bench.node(mock, fresh=True) as node:
        with sampled(node) as samples:
            loaded = load(node, f"http://127.0.0.1:{node.port}/agents/two-seconds/run", tasks, bench.seconds(12), warm_up=0)
        callers = {"in_flight": int(get(mock.port, "/peak")[1]), "rss_mib": round(max(samples), 1), "load": loaded}
    return {"alone": alone, "callers": callers}


@contextmanager
def sampled(node):
    """What a node holds, ten times a second, for as long as the block lasts."""
    samples, done = [node.rss_mib()], threading.Event()

    def sample():
        while not done.wait(0.1):
            samples.append(node.rss_mib())

    sampler = threading.Thread(target=sample)
    sampler.start()
    try:
        yield samples
    finally:
        done.set()
        sampler.join()


def submit(port, path, tasks):
    """Posts that many tasks over a few connections; each must be accepted."""

    def some(number):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        for _ in range(number):
            connection.request("POST", path, '{"prompt":"take your time"}', {"content-type": "application/json"})
            response = connection.getresponse()
            if response.status != 202:
                raise RuntimeError(f"{path} answered {response.status}: {response.read()[:500]}")
            response.read()
        connection.close()

    with ThreadPoolExecutor(50) as pool:
        for done in [pool.submit(some, tasks // 50) for _ in range(50)]:
            done.result()


def wait_for_peak(mock, tasks, seconds=15):
    """The most model calls at once, as soon as it is `tasks` or when patience ends."""
    peak, until = 0, time.monotonic() + seconds
    while peak < tasks and time.monotonic() < until:
        peak = max(peak, int(get(mock.port, "/peak")[1]))
        time.sleep(0.1)
    return peak


def long(bench):
    """One run of a hundred model calls whose conversation grows by a thousand characters a step."""
    with bench.mock() as mock, bench.node(mock, fresh=True) as node:
        task = json.dumps({"prompt": "read all pages", "max_steps": 100, "token_budget": 10_000_000})
        status, body = post(node.port, "/agents/long/run", task)
        result = json.loads(body)
        if status != 200 or result["steps_used"] != 100:
            raise RuntimeError(f"the long run ended with {status}: {body[:1000]}")
        _, stream = get(node.port, f"/tasks/{result['task_id']}/events")
    events = [json.loads(line[6:]) for line in stream.splitlines() if line.startswith("data: ")]
    asked = [datetime.fromisoformat(event["at"]) for event in events if event["type"] == "model.started"]
    steps = [(after - before).total_seconds() * 1000 for before, after in zip(asked, asked[1:])]
    files = [path for path in Path(bench.project).glob("maniple.db*") if "lock" not in path.name]
    return {
        "database_mb": round(sum(path.stat().st_size for path in files) / 1e6, 2),
        # Medians: a step waits for the disk three times, and a disk has hiccups.
        "first_20_steps_ms": median(steps[:20]),
        "last_20_steps_ms": median(steps[-20:]),
        "steps": result["steps_used"],
        "tokens": result["tokens_used"],
    }
