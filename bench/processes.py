"""Processes of a run: started, asked what they use, and stopped by their own id."""
import http.client
import os
import re
import signal
import socket
import subprocess
import time
from contextlib import contextmanager

TICKS = os.sysconf("SC_CLK_TCK")


class Process:
    """A child with its log. Nothing else is ever signalled."""

    def __init__(self, command, log, cwd=None):
        self.log = log
        self.began = time.monotonic()
        with open(log, "ab") as out:
            self.child = subprocess.Popen([str(part) for part in command], cwd=cwd, stdout=out, stderr=out)

    def cpu_seconds(self):
        """User and system time of all its threads so far."""
        with open(f"/proc/{self.child.pid}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def rss_mib(self):
        """Its resident memory now."""
        with open(f"/proc/{self.child.pid}/status") as status:
            return int(re.search(r"VmRSS:\s+(\d+)", status.read()).group(1)) / 1024

    def wait_until_ready(self, port, path, seconds=20):
        """How long it took from its start until `path` answers 200, in milliseconds."""
        while time.monotonic() - self.began < seconds:
            if self.child.poll() is not None:
                break
            try:
                status, _ = get(port, path)
                if status == 200:
                    return (time.monotonic() - self.began) * 1000
            except OSError:
                pass
            time.sleep(0.001)
        with open(self.log, errors="replace") as log:
            raise RuntimeError(f"{path} never answered; the log ends with:\n{log.read()[-2000:]}")

    def stop(self, seconds=20):
        """SIGTERM, and SIGKILL for one that does not leave."""
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
            try:
                self.child.wait(seconds)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()


@contextmanager
def running(command, log, port, ready, cwd=None):
    """A process that answers, for as long as the block lasts."""
    process = Process(command, log, cwd)
    try:
        process.ready_ms = process.wait_until_ready(port, ready)
        yield process
    finally:
        process.stop()


def get(port, path, seconds=60):
    """Status and body of a GET."""
    return ask(port, "GET", path, None, seconds)


def post(port, path, body, seconds=300):
    """Status and body of a POST of JSON text."""
    return ask(port, "POST", path, body, seconds)


def ask(port, method, path, body, seconds):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=seconds)
    try:
        connection.request(method, path, body, {"content-type": "application/json"} if body else {})
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def free_port():
    """A loopback port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
