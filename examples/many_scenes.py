"""Queue one example for many pictures on a running ComfyUI, on this machine or another; its own queue does the rest.

    python many_scenes.py example_workflows/api/learn_one_concept.json photos/*.png --server http://127.0.0.1:8188

Standard library only. Every Demo Scene of the workflow is given another seed for each run; a Load Image is given each
picture in turn, which is uploaded first.
"""

import argparse
import json
import urllib.request
import uuid
from pathlib import Path


def post(server: str, path: str, body: bytes, kind: str = "application/json") -> dict:
    """Send a body and return what the server answers."""
    request = urllib.request.Request(server + path, body, {"Content-Type": kind})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read())


def upload(server: str, picture: Path) -> str:
    """Put a picture into the server's input folder and return its name there."""
    edge = uuid.uuid4().hex
    head = f'--{edge}\r\nContent-Disposition: form-data; name="image"; filename="{picture.name}"\r\n\r\n'
    body = head.encode() + picture.read_bytes() + f"\r\n--{edge}--\r\n".encode()
    return post(server, "/upload/image", body, f"multipart/form-data; boundary={edge}")["name"]


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("workflow", type=Path, help="in API format")
parser.add_argument("pictures", type=Path, nargs="*", help="one run for each; none: one run for each seed")
parser.add_argument("--seeds", type=int, nargs="*", default=[0], help="for Demo Scene, where there are no pictures")
parser.add_argument("--server", default="http://127.0.0.1:8188")
options = parser.parse_args()

prompt = json.loads(options.workflow.read_text("utf-8"))
for item in options.pictures or options.seeds:
    for node in prompt.values():
        if node["class_type"] == "LoadImage" and isinstance(item, Path):
            node["inputs"]["image"] = upload(options.server, item)
        if node["class_type"] == "SceneScope_DemoScene" and isinstance(item, int):
            node["inputs"]["seed"] = item
    queued = post(options.server, "/prompt", json.dumps({"prompt": prompt}).encode())
    print(item, queued["prompt_id"])
