"""The policy step in LeRobot's own pipelines of pi0, pi05 and smolvla: runs in .venv-lerobot.

    PYTHONPATH=. python tests/interop/check_policy_step.py FOLDER      # FOLDER by make_exports.py

The pipelines are those that LeRobot's factories make, with a small tokenizer made here (the real ones are on
the Hub) under the real one's name. Each is saved with the step, loaded by LeRobot in a process that has not
imported the step, and run on batches of the sample dataset (training) and on observations (inference).
"""

import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from lerobot.configs import FeatureType, PolicyFeature
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.policies.factory import make_pre_post_processors
from lerobot.policies.pi0.configuration_pi0 import PI0Config
from lerobot.policies.pi05.configuration_pi05 import PI05Config
from lerobot.policies.smolvla.configuration_smolvla import SmolVLAConfig
from lerobot.processor import ProcessorStepRegistry
from lerobot.utils.constants import OBS_LANGUAGE_ATTENTION_MASK, OBS_LANGUAGE_TOKENS
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

POLICIES = {"pi0": PI0Config, "pi05": PI05Config, "smolvla": SmolVLAConfig}
TOKENIZERS = ("google/paligemma-3b-pt-224", "HuggingFaceTB/SmolVLM2-500M-Video-Instruct")


def make_tokenizers() -> None:
    """Byte-level tokenizers in the working folder, where `from_pretrained` finds them by the real names."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {text: i for i, text in enumerate(["<pad>", *letters])}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>")
    for name in TOKENIZERS:
        fast.save_pretrained(name)


def texts(batch: dict) -> list[str]:
    """What the tokens of a batch say."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(TOKENIZERS[0])
    rows = zip(batch[OBS_LANGUAGE_TOKENS], batch[OBS_LANGUAGE_ATTENTION_MASK], strict=True)
    return [tokenizer.decode(tokens[mask].tolist()) for tokens, mask in rows]


def ending(policy: str, task: str, positive: bool | None) -> str:
    """What the text of a policy begins with (pi05 writes the state behind the task)."""
    text = task if positive is None else f"{task}\nAdvantage: {'positive' if positive else 'negative'}"
    return f"Task: {text.replace(chr(10), ' ')}, State: " if policy == "pi05" else f"{text}\n"


def make_policy_config(policy: str, dataset: LeRobotDataset):
    config = POLICIES[policy](device="cpu", tokenizer_max_length=200)
    state, action = (dataset.meta.features[key]["shape"] for key in ("observation.state", "action"))
    config.input_features = {"observation.state": PolicyFeature(FeatureType.STATE, state)}
    config.output_features = {"action": PolicyFeature(FeatureType.ACTION, action)}
    return config


def save(policy: str, dataset: LeRobotDataset, folder: Path) -> None:
    """A checkpoint folder with the processors that LeRobot makes for a policy (there are no weights)."""
    pre, post = make_pre_post_processors(
        make_policy_config(policy, dataset), dataset_stats=dataset.meta.stats
    )
    pre.save_pretrained(folder)
    post.save_pretrained(folder)
    (folder / "model.safetensors").write_bytes(b"weights")


def load(policy: str, dataset: LeRobotDataset, folder: Path, **overrides):
    """The preprocessor of a checkpoint folder, as LeRobot's training and evaluation load it."""
    return make_pre_post_processors(
        make_policy_config(policy, dataset),
        pretrained_path=str(folder),
        preprocessor_overrides={"AdvantageIndicatorStep": overrides} if overrides else {},
    )[0]


def check_training(policy: str, dataset: LeRobotDataset, expected: dict, folder: Path) -> list[str]:
    """All frames of the dataset in batches, without dropout; some with it."""
    preprocessor = load(policy, dataset, folder, dropout=0.0)
    rows = dataset.hf_dataset.with_format("torch")
    keys = ["observation.state", "action", "index", "episode_index", "task_index"]
    problems, dropped, seen = [], 0, 0
    for start in range(0, len(rows), 512):
        part = rows[start : start + 512]
        tasks = [dataset.meta.tasks.iloc[int(i)].name for i in part["task_index"]]
        batch = {**{key: part[key] for key in keys}, "task": tasks}
        for i, text in enumerate(texts(preprocessor(batch)), start=start):
            wanted = ending(policy, str(expected["task"][i]), bool(expected["positive"][i]))
            if not text.startswith(wanted):
                problems.append(f"{policy}, frame {i}: {text!r}, expected {wanted!r}")
        if start < 4096:
            torch.manual_seed(start)
            plain = texts(load(policy, dataset, folder)({**batch, "task": list(tasks)}))
            dropped += sum("Advantage: " not in text for text in plain)
            seen += len(plain)
    if not 0.25 < dropped / seen < 0.35:
        problems.append(f"{policy}: {dropped} of {seen} frames without an indicator, expected 30%")
    return problems


def check_inference(policy: str, dataset: LeRobotDataset, folder: Path) -> list[str]:
    """One observation, as robots and simulators give it; the labels need not be there."""
    preprocessor = load(policy, dataset, folder, labels="nowhere.parquet")
    state = torch.zeros(dataset.meta.features["observation.state"]["shape"])
    observation = {"observation.state": state, "task": "open the drawer"}
    found = [texts(preprocessor(dict(observation))) for _ in range(20)]
    wanted = ending(policy, "open the drawer", True)
    return [f"{policy}, inference: {text!r}" for (text,) in found if not text.startswith(wanted)]


def check_errors(policy: str, dataset: LeRobotDataset, folder: Path) -> list[str]:
    """A frame without a label and labels of another dataset are refused."""
    preprocessor, problems = load(policy, dataset, folder), []
    state = torch.zeros(1, *dataset.meta.features["observation.state"]["shape"])
    batch = {"observation.state": state, "task": ["x"]}
    for index, episode, words in ((10**6, 0, "has no label"), (0, 5, "of another dataset")):
        try:
            preprocessor({**batch, "index": torch.tensor([index]), "episode_index": torch.tensor([episode])})
            problems.append(f"{policy}: no error for index {index} in episode {episode}")
        except ValueError as error:
            problems += [] if words in str(error) else [f"{policy}: {error}"]
    return problems


def main(exports: Path) -> int:
    expected = dict(np.load(exports / "sample" / "expected.npz"))
    root, labels = Path(str(expected["source"])).resolve(), Path(str(expected["labels"])).resolve()
    dataset = LeRobotDataset("local/dataset", root=root, video_backend="pyav")
    problems = []
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["PYTHONPATH"] = os.pathsep.join(str(Path(path).resolve()) for path in sys.path if path)
        os.chdir(temporary)
        make_tokenizers()
        for policy in POLICIES:
            plain, folder, again = Path(f"{policy}_plain"), Path(policy), Path(f"{policy}_again")
            save(policy, dataset, plain)
            command = [sys.executable, "-m", "valuecurve.policy_step", str(plain), "--labels", str(labels)]
            subprocess.run([*command, "--output", str(folder)], check=True, capture_output=True)
            inside = subprocess.run(
                [*command, "--output", str(plain / "out")], capture_output=True, text=True
            )
            if inside.returncode != 1 or "lies inside the checkpoint" not in inside.stderr:
                problems.append(f"{policy}: an output inside the checkpoint: {inside.stderr[-200:]}")
            shutil.copytree(folder, again)
            load(policy, dataset, folder).save_pretrained(again)  # the round trip
            saved, twice = pipeline_steps(folder), pipeline_steps(again)
            if saved != twice or saved[0]["config"]["labels"] != str(labels):
                problems.append(f"{policy}: loaded and saved again, {saved[0]} became {twice[0]}")
            problems += check_training(policy, dataset, expected, again)
            problems += check_inference(policy, dataset, again) + check_errors(policy, dataset, again)
            print(f"{policy}: {len(dataset)} frames through {' -> '.join(step_names(twice))}")
        os.chdir(exports.anchor or "/")
    if "valuecurve_advantage_indicator" not in ProcessorStepRegistry.list():
        problems.append("the step is not registered")
    print("\n".join(problems[:20]) or "policy step: every frame and every observation has the right text")
    return 1 if problems else 0


def pipeline_steps(folder: Path) -> list[dict]:
    """The steps of a saved preprocessor, without the names of their state files: these hold their number."""
    steps = json.loads((folder / "policy_preprocessor.json").read_text())["steps"]
    return [{key: value for key, value in step.items() if key != "state_file"} for step in steps]


def step_names(steps: list[dict]) -> list[str]:
    return [step.get("registry_name") or step["class"].split(".")[-1] for step in steps]


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    logging.disable(logging.WARNING)
    sys.exit(main(Path(sys.argv[1])))
