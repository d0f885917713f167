"""Reads what the conformance suite left in a folder: `figures.py FOLDER REQUIREMENTS`. Prints a line a scenario, then the figures.

A revision of the protocol requires some scenarios; others are extensions, or younger than the revision, and are told apart.
"""

import collections
import json
import pathlib
import re
import sys

STAMP = re.compile(r"-\d{4}-\d{2}-\d{2}T[\d:.-]+Z$")


def required(file):
    """The scenarios of each leg, from the lists of the requirements' file."""
    legs, leg = collections.defaultdict(set), None
    for line in file.read_text().splitlines():
        if line and not line[0].isspace() and line.endswith(":"):
            leg = line[:-1]
        elif leg and line.startswith("  - ") and ":" not in line:
            legs[leg].add(line[4:].strip())
    return legs


def name_of(leg, folder):
    name = STAMP.sub("", str(folder))
    return name.removeprefix("server-") if leg == "server" else name


work, requirements = map(pathlib.Path, sys.argv[1:])
summary = []
for leg in ("server", "client"):
    for revision in ("2025-11-25", "2026-07-28"):
        counts, asked = collections.Counter(), required(requirements / f"{revision}.yaml")[leg]
        results = work / f"{leg}-{revision}"
        for file in sorted(results.rglob("checks.json")):
            name = name_of(leg, file.parent.relative_to(results))
            checks = json.loads(file.read_text())
            status = collections.Counter(check["status"] for check in checks)
            kind = "required" if name in asked else "other"
            if not status["SUCCESS"] and not status["FAILURE"]:
                print(f"none  {leg} {revision} {name} ({kind}): it asks nothing here")
                continue
            counts[kind] += 1
            counts[kind, "passed"] += not status["FAILURE"]
            verdict = "fails" if status["FAILURE"] else "ok   "
            print(f"{verdict} {leg} {revision} {name} ({kind}): {status['SUCCESS']} checks pass, {status['FAILURE']} fail")
            for check in checks:
                if check["status"] == "FAILURE":
                    print(f"        {check['id']}: {str(check.get('errorMessage') or check.get('description'))[:200]}")
        passed = [f"{counts[kind, 'passed']} of {counts[kind]} {kind}" for kind in ("required", "other")]
        summary.append(f"{leg} {revision}: {passed[0]} scenarios pass, {passed[1]}")
print("\n".join(["", *summary]))
