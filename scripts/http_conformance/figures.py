"""The figures of a run, and a line for each miss: `figures.py REPORT LOG`. Fails on a miss that docs/reference/conformance.md does not name."""

import json
import re
import sys

# What is named there: where, what the answer says, and the name of the reason.
NAMED = [
    (r"^POST ", r"rejected: [a-z_.]+: invalid type: floating point `[0-9]+[.]0`", "a whole number with a point"),
    (r"^POST ", r"rejected: this Idempotency-Key was used with another body", "a key that is known"),
    (r"^POST /tools/\{name\}/invoke$", r"rejected: a run's call has its key in run.key", "a key beside `run`"),
    (r"^POST /tools/\{name\}/(invoke|admit|probe)$", r"rejected: run.key must be a run's", "a tenant in `run.key`"),
    (r"/sessions/\{id\}/messages$", r"rejected: cursor is not one of ours, or its task is gone", "a cursor whose task is gone"),
]


def misses(log):
    found = log.partition(" FAILURES ")[2]
    parts = re.split(r"\n_{5,} (.*?) _{5,}\n", found)
    for operation, text in zip(parts[1::2], parts[2::2]):
        for case in re.split(r"\n(?=\d+\. Test Case ID)", text):
            title = re.search(r"\n- (.*)", case)
            if title:
                status = re.search(r"\n\[(\d+)\]", case)
                detail = re.search(r'"detail":"((?:[^"\\]|\\.)*)', case)
                yield operation, title[1], status[1] if status else "-", detail[1] if detail else ""


def reason(operation, title, detail):
    for where, what, name in NAMED:
        if re.search(where, operation) and re.search(what, f"{title}: {detail}"):
            return name
    return None


report = json.load(open(sys.argv[1]))
found = list(misses(open(sys.argv[2], errors="replace").read()))
unnamed = 0
for operation, title, status, detail in found:
    why = reason(operation, title, detail)
    unnamed += why is None
    print(f"{'NEW ' if why is None else 'known'} {operation}: {title}, {status}: {detail[:160]}{f' ({why})' if why else ''}")
cases, operations, unique = report["test_cases"], report["operations"], report["test_cases"]["unique_failures"]
unnamed += abs(unique - len(found))
errors = len(report["errors"])
print(f"\n{operations['tested']} of {operations['total']} operations asked, {cases['generated']} requests: {unique} misses, {unnamed} of them not named; {errors} errors")
if not report["complete"]:
    print("the run was cut short")
sys.exit(0 if unnamed == 0 and errors == 0 and report["complete"] and operations["tested"] > 40 else 1)
