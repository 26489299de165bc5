"""A short training on batches that mix robot rows, rows without a target and questions; in one process or,
through `accelerate launch`, in several:

    python mixed_run.py OUTPUT '{"per_device_train_batch_size": 4}'

The rows are uneven on purpose: the micro-batches of a step differ in their number of targets and of answer
tokens. Writes the losses, the weights, the export and the number of processes to OUTPUT.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import DistributedType
from safetensors.torch import save_file
from torch.utils.data import Dataset

sys.path.insert(0, str(Path(__file__).parents[1]))  # as a script it must find tiny_models

from tiny_models import TASKS, make_config  # noqa: E402

from valuecurve import ValueModel, ValueProcessor  # noqa: E402
from valuecurve.training import ValueTrainer, ValueTrainingArguments  # noqa: E402
from valuecurve.training.tokenizer import train_tokenizer  # noqa: E402

ROOT = Path(__file__).parents[2]
FILL = {"input_ids": 0, "attention_mask": 0, "token_type_ids": 0, "labels": -100}


class Rows(Dataset):
    """24 rows: robot frames with a target, without one (NaN), and questions with answers of 1 to 7 words."""

    def __init__(self, processor: ValueProcessor):
        rng = np.random.default_rng(0)
        self.rows = []
        for i in range(24):
            image = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            if i % 3 == 2:
                row = processor(
                    images=[[image]], question="what is it?", answer=" ".join(["push"] * (i % 7 + 1))
                )
                target = float("nan")
            else:
                row = processor(images=[[image, image]] if i % 2 else [[image]], task=TASKS[i % 2])
                row["labels"] = torch.full_like(row["input_ids"], -100)
                target = float("nan") if i in (3, 4, 9, 10, 12) else -i / 24
            self.rows.append({**row, "value_targets": torch.tensor([target])})

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return self.rows[index]


def collate(rows: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    length = max(row["input_ids"].shape[1] for row in rows)
    batch = {
        name: torch.cat(
            [torch.nn.functional.pad(r[name], (0, length - r[name].shape[1]), value=fill) for r in rows]
        )
        for name, fill in FILL.items()
    }
    return batch | {
        name: torch.cat([row[name] for row in rows]) for name in ("pixel_values", "value_targets")
    }


def run(output: Path, shard: bool = False, **options) -> ValueTrainer:
    """Four steps of SGD. Adam divides by the size of the gradient, so that parameters whose gradient is
    rounding noise around zero (the bias of a key projection) would take steps of full size."""
    tokenizer = train_tokenizer([f"Task: {task}; Question: what is it? Answer:" for task in TASKS], 1024)
    torch.manual_seed(0)
    model = ValueModel(make_config(tokenizer, language_weight=0.7))
    processor = ValueProcessor(tokenizer, image_size=32, vision_tokens_per_image=16)
    defaults = {
        "max_steps": 4,
        "learning_rate": 0.05,
        "optim": "sgd",
        "lr_scheduler_type": "constant",
        "eval_strategy": "no",
        "load_best_model_at_end": False,
        "save_strategy": "no",
        "logging_steps": 1,
        "disable_tqdm": True,
        "ema_decay": 0.5,
        "use_cpu": True,
    }
    arguments = ValueTrainingArguments(output_dir=str(output), **defaults | options)
    if shard and arguments.device:  # the processes have met
        shard_on_the_cpu()
    rows = Rows(processor)
    trainer = ValueTrainer(
        model=model, args=arguments, processing_class=processor, train_dataset=rows, data_collator=collate
    )
    trainer.train()
    return trainer


def shard_on_the_cpu() -> None:
    """accelerate divides weights on accelerators only, and makes DDP of FSDP on the CPU. Told that these
    processes are of the kind that can, it does so here too: torch's FSDP2 works over gloo."""
    PartialState().distributed_type = DistributedType.MULTI_GPU


def losses(trainer: ValueTrainer) -> list[float]:
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def launch(config: str | Path, program: Path, *arguments) -> subprocess.CompletedProcess:
    """`accelerate launch` with a configuration, by its path or by its name in trainer/accelerate."""
    accelerate = [sys.executable, "-m", "accelerate.commands.launch"]
    accelerate += ["--config_file", str(ROOT / "trainer" / "accelerate" / config)]
    return subprocess.run(
        [*accelerate, str(program), *map(str, arguments)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip


def main(output: Path, **options) -> None:
    trainer = run(output, **options)
    trainer.export(output / "model")
    weights = trainer._whole_state_dict()
    if trainer.is_world_process_zero():
        (output / "processes.json").write_text(json.dumps(trainer.accelerator.num_processes))
        (output / "losses.json").write_text(json.dumps(losses(trainer)))
        save_file(
            {n: w.clone() for n, w in weights.items() if n != "lm_head.weight"},
            output / "weights.safetensors",
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]), **json.loads(sys.argv[2]))
