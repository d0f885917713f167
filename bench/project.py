"""The project that the measured node serves: six agents, two tools, two providers that differ in streaming."""
from pathlib import Path

SETTINGS = """\
listen: 127.0.0.1:{port}
store: sqlite:maniple.db
models:
  plain: {{ api: openai, base_url: "http://127.0.0.1:{mock}/v1", stream: false }}
  streamed: {{ api: openai, base_url: "http://127.0.0.1:{mock}/v1" }}
limits: {{ max_steps: 100, token_budget: 10000000 }}
worker: {{ max_running: 20000 }}
"""

AGENT = """\
---
description: Answers in {what}.
version: 1.0.0
model: {model}
{more}---
You are a helpful agent.
"""

LONG = """\
tools: [page]
limits: { max_steps: 100, token_budget: 10000000, sync_run: 5m }
memory: { window_tokens: 1000000 }
"""

CALLS = """\
tools: [page, act]
"""

TOOL = """\
name: {name}
version: 1.0.0
description: Reads a page.
parameters: {{ type: object, properties: {{ query: {{ type: string }} }}, required: [query] }}
endpoint: http://127.0.0.1:{mock}/tool
effect: {effect}
"""


def write(folder, port, mock):
    """Writes the project into `folder`; returns its settings file."""
    folder = Path(folder)
    (folder / "agents").mkdir(parents=True, exist_ok=True)
    (folder / "tools").mkdir(exist_ok=True)
    agents = {
        "plain": ("one piece", "plain/final", ""),
        "streamed": ("many pieces", "streamed/final", ""),
        "slow": ("twenty seconds", "plain/slow-20000", ""),
        "two-seconds": ("two seconds", "plain/slow-2000", ""),
        "calls": ("one piece", "plain/final", CALLS),
        "long": ("a hundred steps", "plain/tools-99", LONG),
    }
    for name, (what, model, more) in agents.items():
        (folder / "agents" / f"{name}.md").write_text(AGENT.format(what=what, model=model, more=more))
    for name, effect in (("page", "pure"), ("act", "at_most_once")):
        (folder / "tools" / f"{name}.yaml").write_text(TOOL.format(mock=mock, name=name, effect=effect))
    settings = folder / "maniple.yaml"
    settings.write_text(SETTINGS.format(port=port, mock=mock))
    return settings
