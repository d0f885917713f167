"""The one table: each figure beside what it is compared with, and its goal."""


def of(figures):
    rows = [("measure", "figure", "beside it", "goal", "")]
    for name, told in ROWS.items():
        if name in figures:
            rows += told(figures[name])
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths).rstrip())
    return "\n".join(lines)


def row(measure, figure, beside="", goal="", met=None):
    return measure, figure, beside, goal, {True: "met", False: "missed", None: ""}[met]


def store(figures):
    for where, found in figures.items():
        beside = f"{found['fsync_per_second']:,} fsync/s"
        for case, rate in found["store"].items():
            is_goal = case == "2 commits, 256 clients"
            goal, met = ("≥ 20,000/s", rate >= 20_000) if is_goal else ("", None)
            yield row(f"store on {where}, {case}", f"{rate:,} tasks/s", beside, goal, met)


def run(figures):
    turns = figures["turns"]
    for agent, what in (("plain", "one model call"), ("streamed", "the same, streamed")):
        ratios = figures["ratios_to_floor"][agent]
        cpu, rate = ([turn[agent][figure] for turn in turns] for figure in ("cpu_us_per_request", "requests_per_second"))
        floor_cpu, floor_rate = ([turn["floor"][figure] for turn in turns] for figure in ("cpu_us_per_request", "requests_per_second"))
        goals = agent == "plain"
        yield row(
            f"POST /run, {what}: CPU a task", f"{ratios['cpu']:.2f} × floor", f"{span(cpu)} µs beside {span(floor_cpu)} µs",
            "≤ 3 ×" if goals else "", ratios["cpu"] <= 3 if goals else None,
        )
        yield row(
            f"POST /run, {what}: requests", f"{ratios['requests_per_second']:.0%} of floor", f"{span(rate)}/s beside {span(floor_rate)}/s",
            "≥ 50 %" if goals else "", ratios["requests_per_second"] >= 0.5 if goals else None,
        )
    failed = sum(turn[who]["failed"] for turn in turns for who in ("floor", "plain", "streamed"))
    yield row("POST /run, not answered with 2xx", f"{failed}", "", "0", failed == 0)


def gateway(figures):
    turns = figures["turns"]
    beside = span([turn["proxy"]["cpu_us_per_request"] for turn in turns])
    for tool, what in (("page", "pure"), ("act", "at_most_once")):
        ratios, cpu = figures["ratios_to_proxy"][tool], span([turn[tool]["cpu_us_per_request"] for turn in turns])
        yield row(f"invoke a tool ({what}): CPU a call", f"{ratios['cpu']:.2f} × proxy", f"{cpu} µs beside {beside} µs")
        yield row(f"invoke a tool ({what}): requests", f"{ratios['requests_per_second']:.0%} of proxy")
    yield row("a call as a run makes it: calls", f"{figures['inside_a_run']:.0%} of straight", "the same client, without the gateway")
    failed = sum(turn[who]["failed"] for turn in turns for who in ("proxy", "page", "act"))
    yield row("invoke, not answered with 2xx", f"{failed}", "", "0", failed == 0)


def bombs(figures):
    median, almost_all, longest = (figures[name] for name in ("median_ms", "almost_all_ms", "longest_ms"))
    told = f"{figures['refused']:,} refused, {figures['handled']:,} handled"
    yield row("a schema bomb: the median", f"{median:.2f} ms", told)
    yield row("a schema bomb: 99 % within", f"{almost_all:.0f} ms", f"longest {longest:.0f} ms: {figures['longest']}")
    yield row("all bombs: memory", f"{figures['more_mib']} MiB more than before")


def start(figures):
    ready, idle = figures["ready_ms"], figures["idle_rss_mib"]
    yield row("from start to ready", f"{ready:.0f} ms", f"{figures['ready_ms_existing']:.0f} ms on an existing database", "≤ 50 ms", ready <= 50)
    yield row("idle memory", f"{idle:.0f} MiB", "", "≤ 30 MiB", idle <= 30)


def flight(figures):
    alone, callers = figures["alone"], figures["callers"]
    memory, before = alone["rss_mib"], alone["rss_mib_before"]
    yield row(f"{alone['in_flight']:,} tasks in flight", f"{memory:.0f} MiB", f"{before:.0f} MiB before", "≤ 300 MiB", memory <= 300)
    failed = callers["load"]["failed"]
    yield row(f"{callers['in_flight']:,} tasks, each with a caller that waits", f"{callers['rss_mib']:.0f} MiB", f"{failed} failed")


def long(figures):
    size, first, last = (figures[name] for name in ("database_mb", "first_20_steps_ms", "last_20_steps_ms"))
    yield row("one run of 100 model calls: database", f"{size:.2f} MB", f"{figures['tokens']:,} tokens", "< 5 MB", size < 5)
    yield row("its steps 80–99 beside its steps 1–20", f"{last / max(first, 0.01):.2f} ×", f"{last:.1f} ms beside {first:.1f} ms", "≤ 2 ×", last <= 2 * max(first, 1))


def span(values):
    low, high = round(min(values)), round(max(values))
    return f"{low:,}" if low == high else f"{low:,}–{high:,}"


ROWS = {"store": store, "run": run, "gateway": gateway, "bombs": bombs, "start": start, "flight": flight, "long": long}
