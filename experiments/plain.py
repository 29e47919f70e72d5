"""The published algorithms written down plainly: what experiments/bench.py measures ours against.

Every network runs by itself on every batch, in float32, by the modules that torch has for it and
with torch's settings as they come: what a reader of the papers or of their programs would write.
The mathematics is that of gan_style's methods to the last term, which tests/test_bench.py checks in
float64; nothing of gan_style is used. Images are (N, 3, H, W), RGB in [0, 1].
"""

import random
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# --- CycleGAN: junyanz/pytorch-CycleGAN-and-pix2pix, networks.py and cycle_gan_model.py ---


def _norm(channels: int) -> nn.Module:
    return nn.InstanceNorm2d(channels, affine=False, track_running_stats=False)


class ResnetBlock(nn.Module):
    """Pad, convolution, norm, ReLU, pad, convolution, norm; added to what came in."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3),
            _norm(channels),
            nn.ReLU(inplace=True),
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3),
            _norm(channels),
        )

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return x + self.block(x)


def resnet_generator(width: int = 64, blocks: int = 9) -> nn.Sequential:
    """Images in [-1, 1] to the same."""
    layers: list[nn.Module] = [nn.ReflectionPad2d(3), nn.Conv2d(3, width, 7)]
    layers += [_norm(width), nn.ReLU(inplace=True)]
    for channels in (width, 2 * width):
        layers += [nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1)]
        layers += [_norm(2 * channels), nn.ReLU(inplace=True)]
    layers += [ResnetBlock(4 * width) for _ in range(blocks)]
    for channels in (4 * width, 2 * width):
        out = channels // 2
        layers += [nn.ConvTranspose2d(channels, out, 3, stride=2, padding=1, output_padding=1)]
        layers += [_norm(out), nn.ReLU(inplace=True)]
    layers += [nn.ReflectionPad2d(3), nn.Conv2d(width, 3, 7), nn.Tanh()]
    return _small(nn.Sequential(*layers))


def patch_discriminator(width: int = 64) -> nn.Sequential:
    """Images in [-1, 1] to a map of scores, each of 70x70 pixels."""
    layers: list[nn.Module] = [nn.Conv2d(3, width, 4, stride=2, padding=1)]
    layers += [nn.LeakyReLU(0.2, inplace=True)]
    for level, stride in ((1, 2), (2, 2), (3, 1)):
        out = width * 2**level
        layers += [nn.Conv2d(out // 2, out, 4, stride=stride, padding=1), _norm(out)]
        layers += [nn.LeakyReLU(0.2, inplace=True)]
    return _small(nn.Sequential(*layers, nn.Conv2d(8 * width, 1, 4, padding=1)))


def _small(net: nn.Sequential) -> nn.Sequential:
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(module.weight, 0.0, 0.02)
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]  # all have one
    return net


class Pool:
    """Up to 50 images made earlier; once full, half of the queries get one of these."""

    def __init__(self) -> None:
        self.images: list[Tensor] = []

    def query(self, images: Tensor) -> Tensor:
        """As many as came in."""
        shown = []
        for image in images.detach().split(1):
            if len(self.images) < 50:
                self.images.append(image)
                shown.append(image)
            elif random.random() < 0.5:
                slot = random.randrange(50)
                shown.append(self.images[slot].clone())
                self.images[slot] = image
            else:
                shown.append(image)
        return torch.cat(shown)


class CycleGan:
    """Four networks, two optimizers, and the step of cycle_gan_model.py."""

    def __init__(self, width: int = 64, blocks: int = 9) -> None:
        self.gen_ab, self.gen_ba = (resnet_generator(width, blocks) for _ in range(2))
        self.disc_a, self.disc_b = (patch_discriminator(width) for _ in range(2))
        self.nets = nn.ModuleList([self.gen_ab, self.gen_ba, self.disc_a, self.disc_b])
        self.pool_a, self.pool_b = Pool(), Pool()

    def ready(self) -> None:
        """Make the optimizers, once the networks are where they shall be."""
        generators = [*self.gen_ab.parameters(), *self.gen_ba.parameters()]
        discriminators = [*self.disc_a.parameters(), *self.disc_b.parameters()]
        self.adam_g = torch.optim.Adam(generators, lr=2e-4, betas=(0.5, 0.999))
        self.adam_d = torch.optim.Adam(discriminators, lr=2e-4, betas=(0.5, 0.999))

    def step(self, a: Tensor, b: Tensor) -> list[tuple[str, Tensor]]:
        """Who played with which loss, in order."""
        a, b = 2 * a - 1, 2 * b - 1
        fake_b = self.gen_ab(a)
        rec_a = self.gen_ba(fake_b)
        fake_a = self.gen_ba(b)
        rec_b = self.gen_ab(fake_a)

        _learn((self.disc_a, self.disc_b), False)
        self.adam_g.zero_grad()
        identity = 5 * F.l1_loss(self.gen_ab(b), b) + 5 * F.l1_loss(self.gen_ba(a), a)
        fooled = _distance(self.disc_b(fake_b), 1.0) + _distance(self.disc_a(fake_a), 1.0)
        cycle = 10 * F.l1_loss(rec_a, a) + 10 * F.l1_loss(rec_b, b)
        loss_g = fooled + cycle + identity
        loss_g.backward()
        self.adam_g.step()

        _learn((self.disc_a, self.disc_b), True)
        self.adam_d.zero_grad()
        loss_b = self._judge(self.disc_b, b, self.pool_b.query(fake_b))
        loss_a = self._judge(self.disc_a, a, self.pool_a.query(fake_a))
        self.adam_d.step()
        return [("generator", loss_g.detach()), ("discriminator", loss_a + loss_b)]

    @staticmethod
    def _judge(disc: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
        loss = 0.5 * (_distance(disc(real), 1.0) + _distance(disc(fake.detach()), 0.0))
        loss.backward()
        return loss.detach()

    def translate(self, content: Tensor) -> Tensor:
        """A to B."""
        return (self.gen_ab(2 * content - 1) + 1) / 2


def _distance(scores: Tensor, target: float) -> Tensor:
    return F.mse_loss(scores, torch.full_like(scores, target))


def _learn(nets: Iterable[nn.Module], learns: bool) -> None:
    for net in nets:
        for parameter in net.parameters():
            parameter.requires_grad = learns


# --- DualGAN: duxingren14/DualGAN, model.py and ops.py of three commits ---


class Program(NamedTuple):
    """What one of the three programs does; the defaults are those of 2020."""

    kernel: int = 3  # of the generators' inner layers
    critic_kernel: int = 3  # of the critics' inner layers
    strides: tuple[int, ...] = (2, 2, 2, 2, 2)  # of the critics
    batch_norm: bool = False
    dropout: float = 0.0
    unskipped: int = 0  # maps of the encoder that the decoder doesn't see, from the outside
    patches: bool = False  # the critics give a map of scores
    loss: str = "wgan-gp"
    critic_steps: int = 1
    generator_steps: int = 1
    weight: float = 500.0  # of both reconstructions


PROGRAMS = {
    "2020-gp": Program(),
    "2017-wgan": Program(
        kernel=5,
        critic_kernel=5,
        strides=(2, 2, 2, 1),
        batch_norm=True,
        dropout=0.5,
        unskipped=2,
        loss="wgan",
        critic_steps=3,
        weight=200.0,
    ),
    "2017-classic": Program(
        kernel=5,
        critic_kernel=5,
        strides=(2, 2, 2, 1),
        dropout=0.5,
        patches=True,
        loss="classic",
        generator_steps=2,
        weight=20.0,
    ),
}


def _same(size: int, kernel: int, stride: int) -> tuple[int, int]:
    missing = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return missing // 2, missing - missing // 2


class SameConv(nn.Conv2d):
    """TensorFlow's padding: SAME."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        kernel, stride = self.kernel_size[0], self.stride[0]
        rows, columns = (_same(size, kernel, stride) for size in x.shape[2:])
        return super().forward(F.pad(x, (*columns, *rows)))


class SameDeconv(nn.ConvTranspose2d):
    """Its transpose: everything, and the size asked for cut out."""

    def forward(self, x: Tensor, size: Sequence[int]) -> Tensor:  # type: ignore[override]  # noqa: D102
        top, left = (_same(each, self.kernel_size[0], 2)[0] for each in size)
        return super().forward(x)[:, :, top : top + size[0], left : left + size[1]]


class MomentNorm(nn.Module):
    """By the moments of each image, or of the batch; of a single number the centre remains."""

    def __init__(self, channels: int, batch: bool) -> None:
        super().__init__()
        self.batch = batch
        self.scale = nn.Parameter(torch.ones(channels))
        self.centre = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        if self.batch and x.numel() > x.shape[1]:
            return F.batch_norm(x, None, None, self.scale, self.centre, training=True, eps=1e-5)
        if not self.batch and x.shape[2] * x.shape[3] > 1:
            return F.instance_norm(x, weight=self.scale, bias=self.centre, eps=1e-6)
        return (x - x) * self.scale.view(-1, 1, 1) + self.centre.view(-1, 1, 1)


class UnetGenerator(nn.Module):
    """`fcn`: eight halvings, eight doublings, joined."""

    def __init__(self, program: Program, width: int) -> None:
        super().__init__()
        self.program = program
        sizes = [width * min(2**level, 8) for level in range(8)]
        kernel = program.kernel
        self.e = nn.ModuleList([SameConv(3, width, 5, stride=2)])
        self.d = nn.ModuleList()
        entering = sizes[7]
        for level in range(1, 8):
            self.e.append(SameConv(sizes[level - 1], sizes[level], kernel, stride=2))
            self.d.append(SameDeconv(entering, sizes[7 - level], kernel, stride=2))
            entering = sizes[7 - level] * (2 if 7 - level >= program.unskipped else 1)
        self.d.append(SameDeconv(entering, 3, 5, stride=2))
        norm = program.batch_norm
        self.norm_e = nn.ModuleList(MomentNorm(each, norm) for each in sizes[1:])
        self.norm_d = nn.ModuleList(MomentNorm(each, norm) for each in sizes[6::-1])

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        maps = [self.e[0](x)]
        for conv, norm in zip(self.e[1:], self.norm_e, strict=True):
            maps.append(norm(conv(F.leaky_relu(maps[-1], 0.2))))
        y = maps[7]
        for index, (deconv, norm) in enumerate(zip(self.d[:-1], self.norm_d, strict=True)):
            level = 6 - index
            y = norm(deconv(F.relu(y), maps[level].shape[2:]))
            if index < 3 and self.program.dropout:
                y = F.dropout(y, self.program.dropout)
            if level >= self.program.unskipped:
                y = torch.cat([y, maps[level]], dim=1)
        return torch.tanh(self.d[-1](F.relu(y), x.shape[2:]))


class Critic(nn.Module):
    """`discriminator`: one score an image, or a map."""

    def __init__(self, program: Program, width: int, side: int) -> None:
        super().__init__()
        sizes = [3, *(width * min(2**level, 8) for level in range(len(program.strides)))]
        self.h = nn.ModuleList(
            SameConv(sizes[n], sizes[n + 1], program.critic_kernel if n else 5, stride=stride)
            for n, stride in enumerate(program.strides)
        )
        self.norm = nn.ModuleList(MomentNorm(each, program.batch_norm) for each in sizes[2:])
        for stride in program.strides:
            side = -(-side // stride)
        self.last: nn.Module = nn.Sequential(nn.Flatten(), nn.Linear(sizes[-1] * side**2, 1))
        if program.patches:
            self.last = SameConv(sizes[-1], 1, program.critic_kernel, stride=program.strides[-1])

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        x = F.leaky_relu(self.h[0](x), 0.2)
        for conv, norm in zip(self.h[1:], self.norm, strict=True):
            x = F.leaky_relu(norm(conv(x)), 0.2)
        return self.last(x)


class RmsProp:
    """tf.train.RMSPropOptimizer: mean squares that start at 1, eps inside of the root."""

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        self.parameters = list(parameters)
        self.squares = [torch.ones_like(each) for each in self.parameters]

    @torch.no_grad()
    def step(self) -> None:
        """On the gradients that are there, which are gone afterwards."""
        for parameter, square in zip(self.parameters, self.squares, strict=True):
            assert parameter.grad is not None
            square.mul_(0.9).addcmul_(parameter.grad, parameter.grad, value=0.1)
            parameter.addcdiv_(parameter.grad, (square + 1e-10).sqrt(), value=-5e-5)
            parameter.grad = None


class DualGan:
    """Four networks, two optimizers, and the step of model.py."""

    def __init__(self, program: Program, side: int, width: int = 64) -> None:
        self.program = program
        self.gen_ab, self.gen_ba = (UnetGenerator(program, width) for _ in range(2))
        self.disc_a, self.disc_b = (Critic(program, width, side) for _ in range(2))
        self.nets = nn.ModuleList([self.gen_ab, self.gen_ba, self.disc_a, self.disc_b])
        for module in self.nets.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                nn.init.normal_(module.weight, 0.0, 0.02)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]  # all have one

    def ready(self) -> None:
        """Make the optimizers, once the networks are where they shall be."""
        self.rms_g = RmsProp([*self.gen_ab.parameters(), *self.gen_ba.parameters()])
        self.rms_d = RmsProp([*self.disc_a.parameters(), *self.disc_b.parameters()])

    def step(self, a: Tensor, b: Tensor) -> list[tuple[str, Tensor]]:
        """Who played with which loss, in order; as many images as the critics take in a step."""
        program, played = self.program, []
        a, b = 2 * a - 1, 2 * b - 1
        parts_a = [a[k :: program.critic_steps] for k in range(program.critic_steps)]
        parts_b = [b[k :: program.critic_steps] for k in range(program.critic_steps)]
        for part_a, part_b in zip(parts_a, parts_b, strict=True):
            played.append(("discriminator", self._critics(part_a, part_b)))
        last = program.critic_steps - 1
        choice = torch.randint(last + 1, (2,)).tolist() if last else [0, 0]
        for _ in range(program.generator_steps):
            loss = self._generators(parts_a[choice[0]], parts_b[choice[1]])
            played.append(("generator", loss))
        return played

    def _critics(self, a: Tensor, b: Tensor) -> Tensor:
        with torch.no_grad():
            fake_b, fake_a = self.gen_ab(a), self.gen_ba(b)
        loss = self._gap(self.disc_b, b, fake_b) + self._gap(self.disc_a, a, fake_a)
        if self.program.loss == "wgan-gp":
            loss = loss + _penalty(self.disc_b, b, fake_b) + _penalty(self.disc_a, a, fake_a)
        loss.backward()
        self.rms_d.step()
        if self.program.loss == "wgan":
            with torch.no_grad():
                for parameter in self.rms_d.parameters:
                    parameter.clamp_(-0.01, 0.01)
        return loss.detach()

    def _gap(self, critic: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
        of_real, of_fake = critic(real), critic(fake)
        if self.program.loss == "classic":
            return _entropy(of_real, 1.0) + _entropy(of_fake, 0.0)
        return of_fake.mean() - of_real.mean()

    def _generators(self, a: Tensor, b: Tensor) -> Tensor:
        fake_b, fake_a = self.gen_ab(a), self.gen_ba(b)
        back_a, back_b = self.gen_ba(fake_b), self.gen_ab(fake_a)
        _learn((self.disc_a, self.disc_b), False)
        of_b, of_a = self.disc_b(fake_b), self.disc_a(fake_a)
        if self.program.loss == "classic":
            fooled = _entropy(of_b, 1.0) + _entropy(of_a, 1.0)
        else:
            fooled = -of_b.mean() - of_a.mean()
        loss = fooled + self.program.weight * (F.l1_loss(back_a, a) + F.l1_loss(back_b, b))
        loss.backward()
        self.rms_g.step()
        _learn((self.disc_a, self.disc_b), True)
        return loss.detach()


def _entropy(scores: Tensor, target: float) -> Tensor:
    return F.binary_cross_entropy_with_logits(scores, torch.full_like(scores, target))


def _penalty(critic: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
    share = torch.rand(len(real), 1, 1, 1, dtype=real.dtype, device=real.device)
    between = (real + share * (fake - real)).requires_grad_()
    (gradient,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    slope = (gradient.square().sum((1, 2, 3)) + 1e-8).sqrt()
    return 10 * (slope - 1).square().mean()


# --- VGG-19, Gatys, Johnson, AdaIN ---

VGG = (64, 64, 0, 128, 128, 0, 256, 256, 256, 256, 0, 512, 512, 512, 512, 0, 512)  # 0: pooling
RELUS = {"1": 1, "2": 6, "3": 11, "4": 20, "5": 29}  # block -> layer of its first ReLU
CONTENT = 22  # relu4_2


class Vgg(nn.Module):
    """relu1_1, relu2_1 ... of VGG-19, and relu4_2, up to layer number `last`: torchvision's.

    He's initialisation from seed 0, which is gan_style's family "random".
    """

    def __init__(self, last: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        entering = 3
        for channels in VGG:
            if not channels:
                layers.append(nn.MaxPool2d(2))
                continue
            layers += [nn.Conv2d(entering, channels, 3, padding=1), nn.ReLU(inplace=True)]
            entering = channels
        self.net = nn.Sequential(*layers[: last + 1])
        generator = torch.Generator().manual_seed(0)
        for layer in self.net:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]  # it has one
        self.requires_grad_(False)

    def forward(self, images: Tensor) -> dict[int, Tensor]:  # noqa: D102
        mean = images.new_tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
        std = images.new_tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
        x, features = (images - mean) / std, {}
        for index, layer in enumerate(self.net):
            x = layer(x)
            if isinstance(layer, nn.ReLU):
                features[index] = x
        return {index: features[index] for index in (*RELUS.values(), CONTENT) if index in features}


class Gatys:
    """The content's relu4_2 and the style's Gram matrices of relu1_1 ... relu5_1, in pixels.

    Weights 1 and 1e7 on the paper's losses. The loss is scaled to begin at 10,000 and the first
    step of L-BFGS to change pixels by 0.01 on average, as gan_style has it.
    """

    def __init__(self, vgg: Vgg, content: Tensor, style: Tensor) -> None:
        self.vgg = vgg
        with torch.no_grad():
            self.content = vgg(content)[CONTENT]
            features = vgg(style)
            self.grams = {index: _gram(features[index]) for index in RELUS.values()}
            self.image = content.clone()
            self.unit = 1.0
            self.unit = 1e4 / float(self.loss())
        self.image.requires_grad_()

    def loss(self) -> Tensor:
        """Of the image as it is."""
        features = self.vgg(self.image)
        loss = 0.5 * (features[CONTENT] - self.content).square().sum()
        for index, target in self.grams.items():
            channels, positions = features[index].shape[1], features[index][0, 0].numel()
            distance = (_gram(features[index]) - target).square().sum()
            loss = loss + 1e7 * 0.2 * distance / (4 * channels**2 * positions**2)
        return self.unit * loss

    def lbfgs(self, iterations: int, begins: Callable[[int], None]) -> Tensor:
        """The image after some iterations; `begins` is told the iteration of every evaluation."""
        optimizer = torch.optim.LBFGS(
            [self.image],
            max_iter=1,
            max_eval=26,
            history_size=50,
            tolerance_grad=0,
            tolerance_change=0,
            line_search_fn="strong_wolfe",
        )

        def closure() -> Tensor:
            begins(optimizer.state[self.image].get("n_iter", 0))
            optimizer.zero_grad()
            loss = self.loss()
            loss.backward()
            return loss.detach()

        closure()
        assert self.image.grad is not None
        size = float(self.image.grad.abs().mean())
        group = optimizer.param_groups[0]
        group["lr"] = 0.01 / size * max(1, size * self.image.numel())
        optimizer.step(closure)
        group["lr"], group["max_iter"] = 1.0, iterations - 1
        group["max_eval"] = 26 * iterations
        optimizer.step(closure)
        return self.image.detach()

    def adam(self, iterations: int, begins: Callable[[int], None]) -> Tensor:
        """The same by Adam."""
        optimizer = torch.optim.Adam([self.image], lr=0.02)
        for iteration in range(1, iterations + 1):
            begins(iteration)
            optimizer.zero_grad()
            self.loss().backward()
            optimizer.step()
            with torch.no_grad():
                self.image.clamp_(0, 1)
        return self.image.detach()


def _gram(features: Tensor) -> Tensor:
    flat = features[0].flatten(1)
    return flat @ flat.T


class Layer(nn.Module):
    """A convolution that mirrors, after a doubling if asked for; norm and ReLU unless it's last."""

    def __init__(
        self, entering: int, out: int, kernel: int, stride: int, doubles: bool, last: bool
    ) -> None:
        super().__init__()
        self.up = nn.Upsample(scale_factor=2, mode="nearest") if doubles else nn.Identity()
        self.pad = nn.ReflectionPad2d(kernel // 2)
        self.conv = nn.Conv2d(entering, out, kernel, stride)
        self.norm = nn.Identity() if last else nn.InstanceNorm2d(out, affine=True)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return self.norm(self.conv(self.pad(self.up(x))))


class TransformBlock(nn.Module):
    """Two layers around an identity; no ReLU after the sum."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = Layer(channels, channels, 3, 1, doubles=False, last=False)
        self.second = Layer(channels, channels, 3, 1, doubles=False, last=False)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return x + self.second(F.relu(self.first(x)))


class Johnson:
    """pytorch/examples' TransformerNet."""

    def __init__(self, width: int = 32) -> None:
        w = width
        # Channels in, out, kernel, stride, doubles.
        ends = [(3, w, 9, 1, False), (w, 2 * w, 3, 2, False), (2 * w, 4 * w, 3, 2, False)]
        starts = [(4 * w, 2 * w, 3, 1, True), (2 * w, w, 3, 1, True)]
        layers: list[nn.Module] = []
        for shape in ends:
            layers += [Layer(*shape, last=False), nn.ReLU()]
        layers += [TransformBlock(4 * w) for _ in range(5)]
        for shape in starts:
            layers += [Layer(*shape, last=False), nn.ReLU()]
        self.net = nn.Sequential(*layers, Layer(w, 3, 9, 1, doubles=False, last=True))

    def translate(self, content: Tensor) -> Tensor:
        """In the style of its weights."""
        return (self.net(255 * content) / 255).clamp(0, 1)


class AdaIn:
    """naoto0804/pytorch-AdaIN's function.py and test.py, on VGG with zeros around its maps."""

    def __init__(self) -> None:
        self.encoder = Vgg(RELUS["4"])
        layers: list[nn.Module] = []
        for entering, out, doubles in (
            (512, 256, True),
            (256, 256, False),
            (256, 256, False),
            (256, 256, False),
            (256, 128, True),
            (128, 128, False),
            (128, 64, True),
            (64, 64, False),
            (64, 3, False),
        ):
            layers += [nn.ReflectionPad2d(1), nn.Conv2d(entering, out, 3), nn.ReLU()]
            layers += [nn.Upsample(scale_factor=2, mode="nearest")] * doubles
        self.net = nn.Sequential(*layers[:-1])

    def translate(self, content: Tensor, style: Tensor, alpha: float = 1.0) -> Tensor:
        """In the style of an image."""
        code, of_style = self.encoder(content)[RELUS["4"]], self.encoder(style)[RELUS["4"]]
        normalised = (code - _mean(code)) / _std(code)
        restyled = normalised * _std(of_style) + _mean(of_style)
        return self.net(alpha * restyled + (1 - alpha) * code).clamp(0, 1)


def _mean(features: Tensor) -> Tensor:
    return features.mean((2, 3), keepdim=True)


def _std(features: Tensor) -> Tensor:
    return (features.var((2, 3), keepdim=True) + 1e-5).sqrt()
