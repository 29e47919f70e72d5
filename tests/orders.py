"""Run by torchrun: a toy GAN in every order of forward passes and turns, on several processes.

Usage: orders.py OUT

Four steps of each of ORDERS with 1 and with 3 gathered batches, in float64. The images of a step
are the same however many processes share them.
"""

import sys
from pathlib import Path

import torch
from accelerate import Accelerator
from safetensors.torch import save_file
from torch import nn

sys.path.insert(0, str(Path(__file__).parent.parent))

from gan_style.method import Batch, TrainedMethod
from gan_style.training.step import Players

GATHERED = (1, 3)
IMAGES = 6  # of a gathered batch, over all processes


class Generator(nn.Module):
    """With a layer that one may ask for, and one that isn't always used."""

    def __init__(self):
        super().__init__()
        self.first, self.last, self.spare = (nn.Linear(2, 2) for _ in range(3))

    def forward(self, x, layers=()):
        deep = torch.tanh(self.first(x))
        out = self.last(deep)
        return {"deep": deep, "out": out} if layers else out


def cut(self, batch):
    """The generator runs first, and learns last: as CUT."""
    fake = self.gen(batch["a"])
    yield "discriminator", {"real": self.tells(batch["b"], 1), "fake": self.tells(fake.detach(), 0)}
    yield "generator", {"fool": self.tells(fake, 1)}


def cyclegan(self, batch):
    """The generator learns first; the discriminator then sees what it had made before."""
    fake = self.gen(batch["a"])
    yield "generator", {"fool": self.tells(fake, 1)}
    yield "discriminator", {"real": self.tells(batch["b"], 1), "fake": self.tells(fake.detach(), 0)}


def anew(self, batch):
    """Each turn has forward passes of its own, and the discriminator two turns."""
    for _ in range(2):
        fake = self.gen(batch["a"]).detach()
        yield "discriminator", {"real": self.tells(batch["b"], 1), "fake": self.tells(fake, 0)}
    yield "generator", {"fool": self.tells(self.gen(batch["a"]), 1)}


def layers(self, batch):
    """Two passes with layers before one backward, and a network that only looks."""
    one, two = (self.gen(batch[side], layers=["deep"]) for side in "ab")
    near = (one["deep"] - two["deep"]).square().mean()
    yield "discriminator", {"fake": self.tells(one["out"].detach(), 0)}
    again = self.gen(one["out"])
    yield "generator", {"near": near, "fool": self.tells(again, 1)}


def spare(self, batch):
    """A layer that only the second process's batches use: no other has gradients of it."""
    fake = self.gen(batch["a"])
    if batch["b"][:, 0].max() > 5:
        fake = fake + self.gen.spare(batch["a"])
    yield "generator", {"fool": self.tells(fake, 1)}
    yield "discriminator", {"fake": self.tells(fake.detach(), 0)}


ORDERS = {each.__name__: each for each in (cut, cyclegan, anew, layers, spare)}


class Toy(TrainedMethod):
    players = {"generator": ("gen",), "discriminator": ("disc",)}  # noqa: RUF012
    averaged = inference_networks = ("gen",)

    def __init__(self, order, rank):
        super().__init__()
        self.order = order
        torch.manual_seed(rank)  # other weights everywhere, until they agree
        self.gen, self.disc = (
            Generator(),
            nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)),
        )
        self.double()

    def tells(self, images, real):
        return (self.disc(images) - real).square().mean()

    def optimizer(self, player, parameters):
        return torch.optim.SGD(parameters, lr=0.1, momentum=0.5)

    def losses(self, batch):
        yield from ORDERS[self.order](self, batch)

    def preview(self, batch):
        return {}

    def translate(self, content, style=None):
        return self.gen(content)


def main(out):
    accelerator = Accelerator(cpu=True)
    processes, rank = accelerator.num_processes, accelerator.process_index
    numbers = torch.Generator().manual_seed(7)
    images = torch.randn(4 * max(GATHERED) * IMAGES, 2, 2, generator=numbers, dtype=torch.float64)
    images[IMAGES - 1 :: IMAGES, 1, 0] = 6  # one image of each batch, so of one process's
    found = {}
    for order in ORDERS:
        for gathered in GATHERED:
            players = Players(Toy(order, rank), accelerator, ema=0.9)
            rest = images.split(IMAGES)
            for step in range(4):
                batches = rest[step * gathered : (step + 1) * gathered]
                mine = [each.chunk(processes)[rank] for each in batches]
                players.step([Batch(a=each[:, 0], b=each[:, 1]) for each in mine])
            for name, value in players.method.state_dict().items():
                found[f"{order}.{gathered}.{name}"] = value.clone()
            for name, value in players.averages["gen"].module.state_dict().items():
                found[f"{order}.{gathered}.average.{name}"] = value.clone()
    save_file(found, Path(out) / f"{rank}.safetensors")
    accelerator.end_training()


if __name__ == "__main__":
    main(*sys.argv[1:])
