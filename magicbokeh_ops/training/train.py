"""Training from degraded photos to restored and blurred ones, stage by stage."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import torch
from diffusers.training_utils import EMAModel
from torch import Tensor, nn

from ..evaluation.metrics import psnr
from ..synthesis.dataset import Sample, mixed
from . import run, trainee
from .losses import PictureLoss
from .settings import Settings, Stage
from .trainee import Trainee

# What each kind of step learns, by kind of stage: (bokeh steps, restoration steps). An empty one is never taken.
LEARNS = {
    "encoder": ((), trainee.ENCODER),
    "base": (trainee.BASE, trainee.BASE),
    "restoration": ((), trainee.RESTORATION),
    "alternate": (trainee.BOKEH_PHASE, trainee.RESTORATION_PHASE),
    "joint": (trainee.BOKEH_PHASE + trainee.RESTORATION_PHASE,) * 2,
}


def picture_of(model: Trainee, sample: Sample, bokeh: bool, masks: bool = True) -> Tensor:
    """What the model makes of a batch: with its defocus map and (unless they are off anyway) masks on, or with neither."""
    if bokeh:
        return model(sample.lq, sample.defocus, sample.focus_mask if masks else None)
    return model(sample.lq, torch.zeros_like(sample.defocus), None)


def is_bokeh_step(step: int, stage: Stage) -> bool:
    """Whose turn it is."""
    if not LEARNS[stage.kind][0]:
        return False
    return step % sum(stage.turns) < stage.turns[0]


class StageState:
    """Optimizers, averaged weights and the scaler of gradients of one stage."""

    def __init__(self, model: Trainee, stage: Stage, ema: float, scaler: torch.amp.GradScaler):
        self.model, self.stage, self.scaler = model, stage, scaler
        self.parts = LEARNS[stage.kind]
        self.optimizers: dict[bool, torch.optim.Optimizer] = {}
        for bokeh, parts, rate in ((True, self.parts[0], stage.rate), (False, self.parts[1], self.restoration_rate)):
            if parts and not (bokeh is False and self.parts[0] == self.parts[1]):
                self.optimizers[bokeh] = torch.optim.AdamW(model.learn(parts), rate, fused=True)
        self.learning = model.learn(tuple(dict.fromkeys(sum(self.parts, ()))))
        self.ema = EMAModel(self.learning, decay=ema, use_ema_warmup=True, power=0.75)

    @property
    def restoration_rate(self) -> float:
        return self.stage.restoration_rate if self.stage.kind == "alternate" else self.stage.rate

    def turn(self, bokeh: bool, step: int) -> tuple[torch.optim.Optimizer, list[nn.Parameter]]:
        """The optimizer and the parameters of this kind of step, which alone learn now."""
        parameters = self.model.learn(self.parts[0] if bokeh else self.parts[1])
        optimizer = self.optimizers[bokeh if bokeh in self.optimizers else True]
        rate = self.stage.rate if bokeh else self.restoration_rate
        for group in optimizer.param_groups:
            group["lr"] = run.rate_at(step, self.stage, rate)
        return optimizer, parameters

    def state_dict(self) -> dict:
        optimizers = {key: value.state_dict() for key, value in self.optimizers.items()}
        return {"optimizers": optimizers, "ema": self.ema.state_dict(), "scaler": self.scaler.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        for key, value in state["optimizers"].items():
            self.optimizers[key].load_state_dict(value)
        self.ema.load_state_dict(state["ema"])
        self.scaler.load_state_dict(state["scaler"])


def train(settings: Settings, folder: Path, build) -> Trainee:
    """All stages of a run, from where its folder says it was stopped. build(settings): the networks to start from.

    The folder gets state.pt (to go on from), log.jsonl and sheets. At the end of a stage its averaged weights become the weights.
    Returns the trained networks. Raises ValueError if the folder's state is of other settings; more stages may follow.
    """
    accelerator = run.start()
    device = accelerator.device
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "state.pt"
    saved = torch.load(file, map_location=device, weights_only=True) if file.exists() else None
    if saved is not None:
        made_with = saved.get("settings", {})
        run.refuse_changes(file, made_with, settings.identity(len(made_with.get("stages", ()))))
    first = saved["stage"] if saved else 0
    torch.manual_seed(settings.seed)  # the same start on all devices, and after a stop
    # In channels-last convolutions are faster, most of all in bf16 on a CPU.
    model = build(settings).to(device, memory_format=torch.channels_last)
    unit = model.codec.cell * 2 ** (len(model.unet.config.channels) - 1)
    for number, stage in enumerate(settings.stages, 1):
        if stage.size % unit:
            raise ValueError(f"size in stage {number} is {stage.size}; these networks need a multiple of {unit}.")
    loss_of = PictureLoss(settings.lpips, settings.gradient).to(device)
    with accelerator.main_process_first():
        source, held_out = (run.find_source(settings, folder, apart) for apart in (False, True))
    largest = max(stage.size for stage in settings.stages)
    # Pictures of the user's folders are not held out, so at least the scenes must be others than those of any stage.
    seed = settings.seed if settings.data.images is None else settings.seed * 100 + 99
    looked_at = run.to_device(run.make_batches(settings, held_out, largest, 16, seed).make(0), device)
    log = run.Log(folder / "log.jsonl", saved["lines"] if saved else 0) if accelerator.is_main_process else None

    for number, stage in enumerate(settings.stages):
        if saved is not None and number == first and not saved["step"]:
            load(model, saved)  # saved at the end of the stage before, which may have had no LoRA yet
        if stage.kind not in ("encoder", "base") and not model.parts()["sr_lora"]:
            torch.manual_seed(settings.seed)
            model.add_sr_lora(settings.sr_rank)
        if number < first:
            continue
        state = StageState(model, stage, settings.ema, run.make_scaler(device, settings.precision))
        kept = learned_names(model, settings.stages[: number + 1])
        start = 0
        if saved is not None and number == first:
            start = saved["step"]
            if start:
                load(model, saved)
                state.load_state_dict(saved["state"])
            saved = None
        # Other scenes in every stage; each device takes its own of every round.
        batches = run.make_batches(settings, source, stage.size, stage.batch, settings.seed * 100 + number)
        steps = range(start, stage.steps)
        places = run.places(accelerator, steps)
        shared = accelerator.prepare(model)  # for every stage, since a stage may add parameters
        save_here = partial(save, file, settings, log, model, kept, state, number)
        title, samples = f"{number + 1} {stage.kind}", run.load_batches(batches, places, settings.data.workers)
        for step, sample in run.learn(accelerator, title, steps, samples, settings.save_seconds, save_here):
            # The posterior's noise follows from seed, stage and step, as the data do.
            torch.manual_seed(mixed(settings.seed, number, places[step - start]))
            bokeh = is_bokeh_step(step, stage)
            optimizer, parameters = state.turn(bokeh, step)
            with run.autocast(device, settings.precision):
                picture = shared(sample.lq) if stage.kind == "encoder" else picture_of(shared, sample, bokeh, settings.masks)
                loss = loss_of(picture, sample.bokeh if bokeh else sample.sharp, stage.by_picture)
            run.descend(accelerator, state.scaler, loss, optimizer, parameters, settings.clip)
            state.ema.step(state.learning)
            if step % 20 < 2:  # both kinds of steps where they take turns
                of_all_devices = accelerator.reduce(loss.detach(), "mean").item()
                if log is not None:
                    log.write(stage=number, step=step, kind="bokeh" if bokeh else "restoration", loss=of_all_devices)
            if log is None:
                continue
            if (step + 1) % settings.sheet_steps == 0 or step + 1 == stage.steps:
                sheet = folder / f"{number}-{step + 1:06}.png"
                log.write(stage=number, step=step, **look(model, state, looked_at, settings.masks, sheet))
        del shared  # or it would go on sharing gradients
        accelerator.free_memory()
        state.ema.copy_to(state.learning)
        if log is not None:
            save(file, settings, log, model, kept, state, number + 1, 0)
    if saved is not None:
        load(model, saved)
    return model.requires_grad_(False).eval()


def save(
    file: Path,
    settings: Settings,
    log: run.Log | None,
    model: Trainee,
    kept: set[str],
    state: StageState,
    number: int,
    step: int,
) -> None:
    """What a stopped run needs to go on with step `step` of stage `number`, and the settings that it was made with."""
    learned = {name: value for name, value in model.state_dict().items() if name in kept}
    content = {
        "stage": number,
        "step": step,
        "lines": 0 if log is None else log.lines,
        "model": learned,
        "state": state.state_dict(),
    }
    run.save_whole({**content, "settings": settings.identity(number + (step > 0))}, file)


def load(model: Trainee, saved: dict) -> None:
    """The learned weights of a state. Raises ValueError if it is of other networks."""
    unknown = model.load_state_dict(saved["model"], strict=False).unexpected_keys
    if unknown:
        raise ValueError(f"state.pt holds {unknown[0]}, which these settings don't have; give a new folder.")


def learned_names(model: Trainee, stages: Sequence[Stage]) -> set[str]:
    """Names of all that these stages learn; the rest is as it was in the file of the base."""
    parts = {part for stage in stages for some in LEARNS[stage.kind] for part in some}
    return {name for part, names in model.parts().items() if part in parts for name in names}


@torch.no_grad()
def look(model: Trainee, state: StageState, sample: Sample, masks: bool, path: Path) -> dict[str, float]:
    """PSNR on held-out scenes with the averaged weights, beside that of the photos as they came; writes a sheet."""
    state.ema.store(state.learning)
    state.ema.copy_to(state.learning)
    bokeh, sharp = (
        torch.cat([picture_of(model, part, kind, masks) for part in _singles(sample)]).float().cpu() for kind in (True, False)
    )
    state.ema.restore(state.learning)
    sample = run.to_device(sample, torch.device("cpu"))
    run.write_sheet(path, sample, bokeh, sharp)
    inside = sample.focus_mask > 0.5
    bokeh, sharp = bokeh.clamp(0, 1), sharp.clamp(0, 1)
    return {
        "bokeh": psnr(bokeh, sample.bokeh),
        "photo to bokeh": psnr(sample.lq, sample.bokeh),
        "in focus": psnr(bokeh, sample.bokeh, inside),
        "photo in focus": psnr(sample.lq, sample.bokeh, inside),
        "restored": psnr(sharp, sample.sharp),
        "photo to sharp": psnr(sample.lq, sample.sharp),
    }


def _singles(sample: Sample) -> Iterator[Sample]:
    for i in range(len(sample.lq)):
        yield Sample(**{key: value[i : i + 1] for key, value in vars(sample).items()})
