"""The Hub on this machine: transformers and evaluate load by name, in a process without this package."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

CHECKPOINT = Path(__file__).parents[2] / "examples" / "value_tiny_base"

STRANGER = """
import sys
sys.modules["valuecurve"] = None  # it is installed here: hide it
import hashlib
import huggingface_hub.constants
from transformers import AutoConfig, AutoModel, AutoProcessor

def load(**options):
    model = AutoModel.from_pretrained("robots/value", trust_remote_code=True, **options)
    parameters = [item.detach().float().numpy().tobytes() for item in model.parameters()]
    return hashlib.sha256(b"".join(parameters)).hexdigest()

print(AutoConfig.from_pretrained("robots/value", trust_remote_code=True).model_type)
print(type(AutoProcessor.from_pretrained("robots/value", trust_remote_code=True)).__name__)
print(load())
print(load(revision="v1", code_revision="v1"))
try:
    load(revision="v9")
except OSError as error:
    print("v9" in str(error))
huggingface_hub.constants.HF_HUB_OFFLINE = True
print(load())
"""

METRIC = b"""
import datasets
import evaluate


class Share(evaluate.Metric):
    def _info(self):
        features = datasets.Features({"predictions": datasets.Value("int64")})
        return evaluate.MetricInfo(description="", citation="", inputs_description="", features=features)

    def _compute(self, predictions):
        return {"share": sum(predictions) / len(predictions)}
"""


@pytest.mark.slow
def test_a_stranger_loads_a_model_by_its_name_and_revision(hub, api, hub_env, tmp_path):
    api.create_repo("robots/value", private=True)
    api.upload_folder(repo_id="robots/value", folder_path=CHECKPOINT)
    api.create_tag("robots/value", tag="v1")
    card = b"---\nlicense: mit\n---\nlater\n"
    api.upload_file(repo_id="robots/value", path_in_repo="README.md", path_or_fileobj=card)
    done = subprocess.run(
        [sys.executable, "-c", STRANGER],
        env=hub_env,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    from valuecurve import ValueModel

    parameters = ValueModel.from_pretrained(CHECKPOINT).parameters()
    weights = hashlib.sha256(
        b"".join(item.detach().float().numpy().tobytes() for item in parameters)
    ).hexdigest()
    assert done.stdout.split() == ["valuecurve", "ValueProcessor", weights, weights, "True", weights]
    bodies = [item for item in hub.log if item.path.endswith("model.safetensors") and item.method == "GET"]
    assert len(bodies) == 1  # both revisions share it


@pytest.mark.slow
def test_evaluate_loads_a_metric_by_its_name(hub, api, hub_env, tmp_path):
    api.create_repo("robots/share", repo_type="space", space_sdk="gradio")
    api.upload_file(
        repo_id="robots/share", repo_type="space", path_in_repo="share.py", path_or_fileobj=METRIC
    )
    script = "import evaluate; print(evaluate.load('robots/share').compute(predictions=[1, 0, 1, 1]))"
    done = subprocess.run(
        [sys.executable, "-c", script], env=hub_env, cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "{'share': 0.75}"
