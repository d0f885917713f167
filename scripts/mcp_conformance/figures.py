"""Reads what the conformance suite left in a folder: `figures.py FOLDER REQUIREMENTS`. Prints a line a scenario, then the figures.

A revision of the protocol requires some scenarios; others are extensions, or younger than the revision, and are told apart. Fails on
a miss that docs/reference/conformance.md does not name, and where nothing was asked.
"""

import collections
import json
import pathlib
import re
import sys

STAMP = re.compile(r"-\d{4}-\d{2}-\d{2}T[\d:.-]+Z$")

# What is named there: leg, scenario, check, and the name of the reason.
NAMED = [
    ("server", r"prompts-.*|input-required-result-non-tool-request", r".*", "prompts"),
    ("server", r"caching", r"sep-2549-prompts-.*", "prompts"),
    ("server", r"resources-.*", r".*", "resources"),
    ("server", r"caching", r"sep-2549-resources-.*", "resources"),
    ("server", r"completion-complete|logging-set-level|tools-call-with-logging", r".*", "completion, logging"),
    ("server", r"tools-call-(sampling|elicitation)|elicitation-sep.*", r".*", "asking the client back"),
    (
        "server",
        r"input-required-result-(basic-.*|capability-check|multi-round|multiple-input-requests|request-state|result-type|tampered-state)",
        r".*",
        "asking the client back",
    ),
    ("server", r"server-stateless", r"sep-2575-(server-rejects-undeclared-capability|missing-capability-http-400)", "asking the client back"),
    ("server", r"tasks-.*", r".*", "tasks of tools"),
    ("client", r"auth/.*", r".*", "OAuth"),
    ("client", r"elicitation-sep1034-client-defaults|sep-2322-client-request-state", r".*", "being asked back"),
    ("client", r"http-custom-headers", r"sep-2243-client-omit-null", "`null` for an optional argument"),
]


def reason(leg, scenario, check):
    named = (name for at, where, what, name in NAMED if at == leg and re.fullmatch(where, scenario) and re.fullmatch(what, check))
    return next(named, None)


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
summary, unnamed, unasked = [], 0, 0
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
                    why = reason(leg, name, check["id"])
                    unnamed += why is None
                    told = str(check.get("errorMessage") or check.get("description"))[:200]
                    print(f"  {'NEW  ' if why is None else 'known'} {check['id']}: {told}{f' ({why})' if why else ''}")
        passed = [f"{counts[kind, 'passed']} of {counts[kind]} {kind}" for kind in ("required", "other")]
        summary.append(f"{leg} {revision}: {passed[0]} scenarios pass, {passed[1]}")
        unasked += counts["required"] == 0
print("\n".join(["", *summary, f"{unnamed} checks fail that are not named; {unasked} of 4 asked nothing"]))
sys.exit(0 if unnamed == 0 and unasked == 0 else 1)
