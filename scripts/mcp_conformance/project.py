"""Writes the project of the node that is asked, `project.py FOLDER TOOLS`; or waits for it, `project.py --wait URL`."""

import json
import os
import sys
import time
import urllib.request


def write(folder, tools):
    sys.path.insert(0, os.path.dirname(tools))
    names = ["simple_text", "image_content", "audio_content", "embedded_resource", "multiple_content_types", "error_handling", "tool_with_progress", "custom_header", "logging_tool", "streaming_elicitation"]
    granted = [f"test_{name}" for name in names] + ["json_schema_2020_12_tool"]
    os.makedirs(f"{folder}/agents")
    with open(f"{folder}/maniple.yaml", "w") as file:
        servers = {name: {"command": [sys.executable, "-u", tools, name]} for name in ("test", "json")}
        json.dump({"store": "memory:", "mcp": servers}, file)
    with open(f"{folder}/agents/tester.md", "w") as file:
        file.write(f"---\ndescription: Holds the grants.\nversion: 1.0.0\nmodel: demo/demo\ntools: [{', '.join(granted)}]\n---\nYou test.\n")


def wait(url):
    for _ in range(150):
        try:
            with urllib.request.urlopen(f"{url}/tools?agent=tester", timeout=2) as answer:
                if len(json.load(answer)["tools"]) >= 11:
                    return 0
        except (OSError, ValueError, KeyError):
            pass
        time.sleep(0.2)
    return 1


if sys.argv[1] == "--wait":
    sys.exit(wait(sys.argv[2]))
write(sys.argv[1], sys.argv[2])
