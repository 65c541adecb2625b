"""The loop of a training run: epochs over images, on one core or many GPUs, kept after each epoch.

`TrainingLoop` learns classes; `golden.training.pretrain` makes it learn something else.
"""

from __future__ import annotations

import csv
import math
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from spikeloom.common.files import written_aside
from spikeloom.golden.data import datasets
from spikeloom.golden.data.images import Images
from spikeloom.golden.models.architectures import Model
from spikeloom.golden.models.spikformer import Spikformer
from spikeloom.golden.training import training_state
from spikeloom.golden.training.augment import augment, mix
from spikeloom.golden.training.costs import CostLoss
from spikeloom.golden.training.evaluation import count_correct, recalibrate
from spikeloom.golden.training.parallel import Processes
from spikeloom.golden.training.progress import EpochReport, Hooks, tensorboard
from spikeloom.golden.training.run_config import MASK_GROUPS, RunConfig, differences, from_mapping
from spikeloom.golden.training.tet import tet_loss
from spikeloom.golden.training.training_state import TrainingState

STATE = "state.safetensors"  # in a run's folder
LOG = "log.csv"
ENOUGH = 16384  # images for the statistics of batch norms and for the training accuracy


class TrainingLoop:
    """One run of the loop: the model, what changes with it, and the folder that it is kept in.

    team: the processes that train together. folder: None keeps nothing. model: is changed; in training it makes
    class scores of uint8 images.
    """

    def __init__(
        self,
        run: RunConfig,
        team: Processes,
        device: torch.device,
        train_set: Images,
        test_set: Images,
        folder: Path | None,
        model: Model,
    ) -> None:
        self.run, self.team, self.device, self.folder = run, team, device, folder
        self.train_set, self.test_set = train_set, test_set
        count = len(train_set.labels)
        self.chosen = datasets.spread_out(count, run.data.train_images or count)
        self.model = model.to(device)
        self.learner = self.made_learner().to(device)
        self.mean: dict[str, Tensor] | None = None
        if run.train.ema is not None:
            self.mean = {key: x.detach().clone() for key, x in self.learner.named_parameters()}
        self.optimizer = _optimizer(self.learner, run)
        self.batches = math.ceil(len(self.chosen) / run.train.batch_size)
        self.costs = CostLoss(model, run)
        if isinstance(model, Spikformer):
            model.ahead, model.by_step = run.masks.ahead, run.train.tet is not None
        self.history: list[dict[str, Any]] = []
        if team.rank:  # processes change their images differently
            torch.manual_seed(run.train.seed + 1_000_003 * team.rank)

    def made_learner(self) -> torch.nn.Module:
        """What learns, the model or something around it: of images it makes what `loss` wants."""
        return self.model

    def fit(self, hooks: Hooks, *, restart: bool) -> None:
        """All epochs that are left to do. restart: of the folder's state nothing is taken over."""
        done = 0 if restart else self._resume()
        for record in self.history:
            hooks.epoch(EpochReport(**record))
        parallel = self.team.wrapped(self.learner, self.device)
        with tensorboard(self.folder if self.team.main else None, done) as log:
            for epoch in range(done + 1, self.run.train.epochs + 1):
                state = self._epoch(epoch, parallel, hooks)
                self.history.append(asdict(state))
                self._save(epoch)
                log(state)
                hooks.epoch(state)

    def _epoch(self, epoch: int, parallel: torch.nn.Module, hooks: Hooks) -> EpochReport:
        train, team = self.run.train, self.team
        started = time.monotonic()
        self.learner.train()
        total, seen, step = 0.0, 0, (epoch - 1) * self.batches
        order = team.of_main(torch.randperm(len(self.chosen)), self.device)
        for together in order.split(train.batch_size):
            self._set_rate(step)
            if len(together) >= team.count:
                share = together[team.rank :: team.count]
                total += self._step(share, epoch, step, parallel) * len(share)
                seen += len(share)
            step += 1
            hooks.step(step, train.epochs * self.batches)
        self.learner.eval()
        total, all_seen = team.summed(total, seen, device=self.device)
        seconds = time.monotonic() - started
        steps = self.model.time_steps().values()
        return EpochReport(
            epoch=epoch,
            epochs=train.epochs,
            loss=total / all_seen,
            accuracy=self.score(),
            t_avg=sum(steps) / len(steps),
            rate=self.optimizer.param_groups[0]["lr"],
            images_per_second=all_seen / seconds,
        )

    def _step(self, share: Tensor, epoch: int, step: int, parallel: torch.nn.Module) -> float:
        """Learn from the given images; the loss, without what steps and spikes cost. step: those done before."""
        run, model = self.run, self.model
        numbers = self.chosen[share.numpy()]
        images = torch.from_numpy(self.train_set.batch(numbers)).to(self.device)
        labels = torch.from_numpy(self.train_set.labels[numbers]).to(self.device)
        loss = self.loss(images, labels, epoch, parallel)
        shown = float(loss.detach())
        if not math.isfinite(shown):
            raise ValueError(f"the loss became {shown} in epoch {epoch}; lower train.learning_rate")
        loss = loss + self.costs.loss(self._masks_done(step))
        self.optimizer.zero_grad()
        loss.backward()
        if run.train.clip is not None:
            torch.nn.utils.clip_grad_norm_(self.learner.parameters(), run.train.clip)
        self.optimizer.step()
        for mask in model.masks((*MASK_GROUPS, "head")):  # which the mask loss does not know
            mask.project_()
        if self.mean is not None and run.train.ema is not None:
            with torch.no_grad():
                for key, x in self.learner.named_parameters():
                    self.mean[key].lerp_(x, 1 - run.train.ema)
        return shown

    def loss(self, images: Tensor, labels: Tensor, epoch: int, parallel: torch.nn.Module) -> Tensor:
        """Of a batch of images, without what steps and spikes cost."""
        run = self.run
        images, targets = mix(augment(images, run.augment), labels, run.model.classes, run.augment, epoch=epoch)
        with self.precision():
            scores = parallel(images)
        if run.train.tet is not None:
            smoothing = run.train.label_smoothing
            return tet_loss(scores.float(), targets, share=run.train.tet, label_smoothing=smoothing)
        return F.cross_entropy(scores.float(), targets, label_smoothing=run.train.label_smoothing)

    def precision(self) -> torch.autocast:
        """The number type of products inside the block."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.run.train.precision == "bfloat16")

    def _set_rate(self, step: int) -> None:
        """Linear warm-up, then a cosine."""
        train = self.run.train
        warm = round(train.warmup_epochs * self.batches)
        if step < warm:
            share = (step + 1) / warm
        else:
            share = 0.5 * (1 + math.cos(math.pi * (step - warm) / max(train.epochs * self.batches - warm, 1)))
            lowest = train.min_learning_rate / train.learning_rate if train.min_learning_rate else 0.0
            share = lowest + (1 - lowest) * share if lowest else share
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * share
        if self._masks_done(step) >= 1:
            self.optimizer.param_groups[-1]["lr"] = 0.0
            if isinstance(self.model, Spikformer) and self.model.ahead is not None:
                self.model.ahead = 0  # no mask will grow

    def _masks_done(self, step: int) -> float:
        """The share of the training of the masks that lies behind a step."""
        return step / (self.batches * (self.run.masks.epochs or self.run.train.epochs))

    def score(self) -> float | None:
        """What an epoch's record has for the accuracy."""
        return self.held_out_accuracy()

    def held_out_accuracy(self) -> float:
        """Of the held-out images, each process taking its share of them."""
        count, team = len(self.test_set.labels), self.team
        numbers = datasets.spread_out(count, self.run.data.test_images or count)
        correct = count_correct(self.model, self.test_set, numbers[team.rank :: team.count])
        return team.summed(correct, device=self.device)[0] / len(numbers)

    def finished(self) -> Model:
        """The model with its mean weights, if there are any, and the batch norms' statistics of those."""
        if self.mean is not None:
            self.learner.load_state_dict(self.mean, strict=False)
        if self.run.finetune is None:  # which freezes the batch norms
            numbers = self.chosen[datasets.spread_out(len(self.chosen), ENOUGH)]
            recalibrate(self.model, self.train_set, numbers, 4 * self.run.train.batch_size)
        return self.model

    def _resume(self) -> int:
        """Take over the state in the folder, if there is one; the epochs that are done."""
        if self.folder is None or not (self.folder / STATE).is_file():
            return 0
        state = training_state.load(self.folder / STATE)
        before, now = from_mapping(state.run).as_dict(), self.run.as_dict()
        changed = [key for key in differences(before, now) if key not in ("train.device", "data.folder")]
        if changed:
            raise ValueError(
                f"{self.folder} holds a run with another {changed[0]}; go on with the same configuration, "
                "choose another folder with -o, or begin anew with --restart"
            )
        try:
            self._take_over(state)
        except RuntimeError as error:  # PyTorch's, of tensors that are missing or have another shape
            why = " ".join(str(error).split())
            raise ValueError(f"{self.folder / STATE} is damaged: {why}; begin anew with --restart") from None
        self.history = state.history
        return state.epoch

    def _take_over(self, state: TrainingState) -> None:
        """RuntimeError where its tensors are not those of this run."""
        self.learner.load_state_dict(state.model)
        if state.mean is not None:
            self.mean = {key: x.to(self.device) for key, x in state.mean.items()}
        groups = self.optimizer.state_dict()["param_groups"]
        parameters = [x for group in self.optimizer.param_groups for x in group["params"]]
        for number, values in state.optimizer.items():
            for name, x in values.items():
                if number >= len(parameters) or x.dim() and x.shape != parameters[number].shape:
                    raise RuntimeError(f"optimizer.{number}.{name} belongs to no parameter")
        self.optimizer.load_state_dict({"state": state.optimizer, "param_groups": groups})
        if self.team.rank < len(state.random):
            torch.set_rng_state(state.random[self.team.rank])

    def _save(self, epoch: int) -> None:
        if self.folder is None:
            return
        random = self.team.gathered(torch.get_rng_state(), self.device)
        if self.team.main:
            state = TrainingState(
                model=self.learner.state_dict(),
                mean=self.mean,
                optimizer=self.optimizer.state_dict()["state"],
                random=random,
                epoch=epoch,
                history=self.history,
                run=self.run.as_dict(),
            )
            training_state.save(self.folder / STATE, state)
            with written_aside(self.folder / LOG) as aside, open(aside, "w", newline="") as file:
                writer = csv.DictWriter(file, self.history[0])
                writer.writeheader()
                writer.writerows(self.history)
        self.team.wait()


def _optimizer(model: torch.nn.Module, run: RunConfig) -> torch.optim.Optimizer:
    masks = [x for name, x in model.named_parameters() if "time_mask" in name]
    others = [x for name, x in model.named_parameters() if "time_mask" not in name]
    rate, decay = run.train.learning_rate, run.train.weight_decay
    groups: list[dict[str, Any]] = [
        {"params": [x for x in others if x.dim() > 1], "weight_decay": decay, "peak": rate},
        {"params": [x for x in others if x.dim() < 2], "weight_decay": 0.0, "peak": rate},
        {"params": masks, "weight_decay": 0.0, "peak": rate * run.masks.rate},  # the last one
    ]
    return torch.optim.AdamW(groups, lr=rate)
