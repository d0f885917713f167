"""Reads what the conformance suite left in a folder, and prints a line a scenario and the figures."""

import collections
import json
import pathlib
import re
import sys

STAMP = re.compile(r"-\d{4}-\d{2}-\d{2}T[\d:.-]+Z$")
work = pathlib.Path(sys.argv[1])
for leg in ("server", "client"):
    for revision in ("2025-11-25", "2026-07-28"):
        figures = collections.Counter()
        for file in sorted((work / f"{leg}-{revision}").rglob("checks.json")):
            name = STAMP.sub("", str(file.parent.relative_to(work / f"{leg}-{revision}")))
            checks = json.loads(file.read_text())
            status = collections.Counter(check["status"] for check in checks)
            figures["scenarios"] += 1
            figures["passed"] += not status["FAILURE"]
            print(f"{'ok   ' if not status['FAILURE'] else 'fails'} {leg} {revision} {name}: {status['SUCCESS']} checks pass, {status['FAILURE']} fail")
            for check in checks:
                if check["status"] == "FAILURE":
                    print(f"        {check['id']}: {str(check.get('errorMessage') or check.get('description'))[:200]}")
        print(f"{leg} {revision}: {figures['passed']} of {figures['scenarios']} scenarios pass")
