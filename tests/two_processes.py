"""Run by torchrun: writes the gradients, or the weights after training, of every process.

Usage: two_processes.py gradients|train DOMAIN OUT BATCH_SIZE
"""

import sys
from itertools import islice
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parent.parent))

from gan_style.config import DataConfig, TrainConfig
from gan_style.data import DomainPair, domain_from_folder
from gan_style.method import Batch
from gan_style.methods import cyclegan
from gan_style.training import Trainer


def main(task, domain, out, batch_size):
    accelerator = Accelerator(log_with="tensorboard", project_dir=out)
    accelerator.init_trackers("tensorboard")
    set_seed(0)
    method = cyclegan.Method(
        cyclegan.Config(generator="resnet_6", width_generator=4, width_discriminator=4, pool_size=3)
    )
    set_seed(0, device_specific=True)
    data = DomainPair(domain_from_folder(Path(domain)), DataConfig(size=24), seed=0)
    if task == "gradients":
        # In float64, where the order of a sum doesn't show.
        method.double()
        tensors = gradients(method, data, int(batch_size), accelerator)
    else:
        config = TrainConfig(images=8, batch_size=int(batch_size), sample_every=4)
        trainer = Trainer(method, data, config, Path(out), {}, accelerator)
        trainer.train()
        tensors = {
            f"{name}.{key}": value.clone()
            for name in trainer.names
            for key, value in trainer.net(name).state_dict().items()
        }
        tensors["random"] = torch.get_rng_state()
    save_file(tensors, Path(out) / f"{task}_{accelerator.process_index}.safetensors")
    accelerator.end_training()


def gradients(method, data, batch_size, accelerator):
    """Of every player on the first batch, without a step."""
    names = [name for nets in method.players.values() for name in nets]
    for name in names:
        setattr(method, name, accelerator.prepare(getattr(method, name)))
    (batch,) = islice(
        data.batches(0, batch_size, accelerator.process_index, accelerator.num_processes), 1
    )
    batch = Batch(a=batch["a"].double(), b=batch["b"].double())
    for _, terms in method.losses(batch):
        accelerator.backward(torch.stack(list(terms.values())).sum())
    return {
        f"{name}.{key}": parameter.grad.clone()
        for name in names
        for key, parameter in accelerator.unwrap_model(getattr(method, name)).named_parameters()
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
