"""Run by torchrun: trains each of CASES small and writes what every process ends with.

Usage: two_processes.py descend|train DOMAIN OUT

- descend: two steps of plain descent in float64, where the order of a sum doesn't show; each case
  on 2 and on 4 images at once, a process seeing one at a time, or all where it is the only one.
- train: as train.py would, with KID of mean colours.
"""

import sys
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parent.parent))

from gan_style import command, config, methods
from gan_style.config import DataConfig, TrainConfig
from gan_style.data.stream import DomainPair, domain_from_folder
from gan_style.training import launch
from gan_style.training.kid import Scorer
from gan_style.training.loop import Trainer

CASES = {  # at 64 pixels all that dropout meets is 0, made so by the norm of a single pixel
    "cyclegan": {"generator": "resnet_6", "pool_size": 3, "size": 24},
    "2020-gp": {"method": "dualgan", "preset": "2020-gp", "size": 64},
    "2017-wgan": {"method": "dualgan", "preset": "2017-wgan", "size": 128},
    "2017-classic": {"method": "dualgan", "preset": "2017-classic", "size": 128},
}
# Its shifts are drawn by every process, and its norms go on with every look: one process takes
# other steps.
TRAINED = CASES | {
    "quick": {
        "method": "quick", "vgg": "random", "blocks": 1, "size": 32, "load_size": 32,
        "judge_scales": 1, "measured_crops": 2,
    },
}  # fmt: skip
# What a process draws or averages for itself: without it two of them make the steps of one.
OWN = {
    "cyclegan": {"pool_size": 0},
    "dualgan": {"dropout": 0.0, "norm": "instance", "generator_batch": "last"},
}


class Doubles(DomainPair):
    def item(self, position):
        return tuple(image.double() for image in super().item(position))


def make(options, pair, domain):
    """The method and data that train.py makes from options."""
    given = {"width_discriminator": 2, "workers": 1, **options}
    if options.get("method") != "quick":
        given["width_generator"] = 2
    parts = command.sections(command.with_preset(given, options.get("preset", "")))
    module = methods.load(options.get("method", "cyclegan"))
    data_config = config.build(DataConfig, parts["data"])
    set_seed(0)
    method = module.Method(config.build(module.Config, parts["method"]))
    method.build_for_crop(data_config.crop)
    set_seed(0, device_specific=True)
    data = pair(domain_from_folder(Path(domain)), data_config, seed=0)
    if method.looks:
        launch.show(data, method, "cpu", fresh=True, progress=False)
    return method, data


RECORD = {"data": {}, "train": {}, "method": {}, "launch": {}}  # of runs without options


def descend(name, domain, out, accelerator):
    options = CASES[name] | OWN[CASES[name].get("method", "cyclegan")]
    processes, rank = accelerator.num_processes, accelerator.process_index
    for together in (2, 4):
        method, data = make(options, Doubles, domain)
        method.double()
        # No Adam: for it, what rounding leaves of a gradient that is 0 is as good as any other.
        method.optimizer = lambda player, parameters: torch.optim.SGD(parameters, lr=1e-3)
        alone = processes == 1
        train = TrainConfig(
            images=2 * together * method.batches_a_step,
            schedule="constant",
            batch_size=together if alone else 1,
            gradient_accumulation_steps=1 if alone else together // processes,
            sample_every=0,
        )
        trainer = Trainer(method, data, train, out / f"{name}_{together}", RECORD, accelerator)
        tensors = {f"before.{key}": value for key, value in weights(trainer).items()}
        moved, exchanged = follow(trainer)
        trainer.train()
        tensors |= weights(trainer)
        tensors["turns"] = torch.tensor([ord(player[0]) for player in moved])
        tensors["exchanged"] = torch.tensor([ord(player[0]) for player in exchanged])
        save_file(tensors, out / f"{name}_{together}_{rank}.safetensors")


def follow(trainer):
    """Lists that fill while it trains: who moves; whose gradients are exchanged."""
    moved, exchanged, reduce = [], [], torch.distributed.all_reduce
    players = trainer.players
    for player, optimizer in players.optimizers.items():
        optimizer.optimizer.register_step_post_hook(lambda *_, each=player: moved.append(each))
    sizes = {
        sum(each.numel() for each in parameters) + len(parameters): player
        for player, parameters in players.parameters.items()
    }

    def counted(tensor, *arguments, **options):
        if tensor.numel() in sizes:
            exchanged.append(sizes[tensor.numel()])
        return reduce(tensor, *arguments, **options)

    torch.distributed.all_reduce = counted
    return moved, exchanged


class Colours(torch.nn.Module):
    def forward(self, images):
        return images.mean(dim=(2, 3))


def train(name, domain, out, accelerator):
    method, data = make(TRAINED[name], DomainPair, domain)
    images = 4 * method.batches_a_step * accelerator.num_processes
    scorer = Scorer(method, data, 4, Colours()) if accelerator.is_main_process else None
    config = TrainConfig(images=images, sample_every=4, kid_every=1)
    trainer = Trainer(method, data, config, out / name, RECORD, accelerator, scorer)
    trainer.train()
    tensors = weights(trainer) | {"random": torch.get_rng_state()}
    save_file(tensors, out / f"{name}_{accelerator.process_index}.safetensors")


def weights(trainer):
    return {
        f"{name}.{key}": value.clone()
        for name in trainer.players.names
        for key, value in trainer.players.net(name).state_dict().items()
    }


def main(task, domain, out):
    accelerator = Accelerator()
    if task == "descend":
        # The points of the penalty: each process would draw other ones.
        torch.rand = lambda *shape, **options: torch.full(shape, 0.3, **options)
    cases, function = {"descend": (CASES, descend), "train": (TRAINED, train)}[task]
    for name in cases:
        function(name, domain, Path(out), accelerator)
    accelerator.end_training()


if __name__ == "__main__":
    main(*sys.argv[1:])
