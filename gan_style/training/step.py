"""The one step: every player's turns on the gathered batches, and the moves of its optimizer.

Networks stay themselves: nothing is wrapped around them to exchange gradients between processes. A
player's gradients are averaged here, when its turn is over and before its optimizer moves. So in
which turn a network was run forward, how often, and with which outputs needs no care.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from gan_style import checkpoint
from gan_style.devices import Precision, memory_format
from gan_style.errors import TrainingError
from gan_style.method import Batch, TrainedMethod
from gan_style.training.schedule import averaging

Turn = tuple[str, dict[str, Tensor]]  # a player, and its weighted terms


@dataclass
class Beginning:
    """What a step changes before an optimizer moves a weight, as it was when the step began."""

    cpu: Tensor  # random states
    cuda: Tensor | None
    extra: list[tuple[nn.Module, Any]]  # such as image pools
    buffers: list[tuple[Tensor, Tensor]]  # such as the means of batch norm, and copies


class Players:
    """The networks of a method, with optimizers and averages, and the step that moves them.

    Args:
        method: its networks are moved to the device and put into the launch's precision.
        accelerator: where and how to run.
        ema: decay of the averaged weights; 0 averages none.
    """

    def __init__(self, method: TrainedMethod, accelerator: Accelerator, ema: float = 0) -> None:
        self.method, self.accelerator = method, accelerator
        self.names = [name for nets in method.players.values() for name in nets]
        self.precision = cast("Precision", accelerator.mixed_precision.replace("no", "fp32"))
        method.to(accelerator.device)
        self._agree_on_weights()
        self.parameters = {
            player: [each for name in nets for each in getattr(method, name).parameters()]
            for player, nets in method.players.items()
        }
        optimizers = {
            player: method.optimizer(player, parameters)
            for player, parameters in self.parameters.items()
        }
        self.averages = {
            name: AveragedModel(getattr(method, name), multi_avg_fn=averaging(ema))
            for name in (method.averaged if ema else ())
        }
        self.initial_rates = {
            player: [group["lr"] for group in optimizer.param_groups]
            for player, optimizer in optimizers.items()
        }
        for name in self.names:  # for training, too: so it is left as it is but for precision
            net = accelerator.prepare_model(getattr(method, name), evaluation_mode=True)
            setattr(method, name, net)
        self.optimizers = {
            player: accelerator.prepare(optimizer) for player, optimizer in optimizers.items()
        }
        # Those that keep a state beside tensors, and what a forward pass may change.
        keeping = nn.Module.get_extra_state
        self._keepers = [m for m in method.modules() if type(m).get_extra_state != keeping]
        self._buffers = [buffer for name in self.names for buffer in self.net(name).buffers()]
        self._beginning: Beginning | None = None  # of a step that is under way
        self.moved = False  # an optimizer has, in the step that is under way

    def net(self, name: str) -> nn.Module:
        """A network without what compilation wraps around it."""
        wrapped = getattr(self.method, name)
        return self.accelerator.unwrap_model(wrapped, keep_torch_compile=False)

    def step(self, batches: Sequence[Batch]) -> list[Turn]:
        """One step on gathered batches, on the device; what the players saw."""
        return [turn for turns in self.moves(batches) for turn in turns]

    def moves(self, batches: Sequence[Batch]) -> Iterator[list[Turn]]:
        """One step, move by move: what a player saw of each batch, when it has moved.

        The batches advance together, turn by turn: each move is on the mean of the gradients of
        all of them, as if they were one, also where a player has several turns.
        """
        self._beginning = self._begin()
        plays = [self.method.losses(batch) for batch in batches]
        while turns := list(self._turns(plays)):
            player = turns[0][0]
            assert [name for name, _ in turns] == [player] * len(plays)  # the same turn of each
            _average(self.parameters[player], self.accelerator.num_processes)
            self.moved = True
            self.optimizers[player].step()
            self.method.zero_grad()  # also of networks that only judged
            yield turns
        if self.accelerator.num_processes > 1:
            _broadcast(self._buffers)
        for name, average in self.averages.items():
            average.update_parameters(self.net(name))
        self._beginning, self.moved = None, False

    def _turns(self, plays: Sequence[Iterator[Turn]]) -> Iterator[Turn]:
        """The next turn on each batch, with its gradients."""
        for play in plays:
            # Networks are in the launch's precision by themselves; this is for those that only
            # judge, as VGG, and for losses.
            with self.accelerator.autocast():
                turn = next(play, None)
            if turn:
                player, terms = turn
                loss = torch.stack(list(terms.values())).sum()
                self.accelerator.backward(loss / len(plays))
                yield player, {name: value.detach() for name, value in terms.items()}

    def set_rates(self, factor: float) -> None:
        """Learning rates are to be the initial ones, times `factor`."""
        for player, optimizer in self.optimizers.items():
            for group, rate in zip(optimizer.param_groups, self.initial_rates[player], strict=True):
                group["lr"] = rate * factor

    def to_device(self, batch: Batch) -> Batch:
        """A batch where the networks are, laid out as they compute fastest."""
        order = memory_format(self.precision)
        moved = {
            side: images.to(self.accelerator.device, non_blocking=True, memory_format=order)  # type: ignore[attr-defined]
            for side, images in batch.items()
        }
        return cast("Batch", moved)

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Look at the networks without changing the run.

        No gradients, no draw from the training's random state, and nothing is compiled for what is
        only looked at.
        """
        device = self.accelerator.device
        compiled = {name: getattr(self.method, name) for name in self.names}
        for name in self.names:
            setattr(self.method, name, self.net(name))
        try:
            devices = [device] if device.type == "cuda" else []
            with torch.no_grad(), torch.random.fork_rng(devices):
                yield
        finally:
            for name, net in compiled.items():
                setattr(self.method, name, net)

    def _begin(self) -> Beginning:
        on_cuda = self.accelerator.device.type == "cuda"
        return Beginning(
            cpu=torch.get_rng_state(),
            cuda=torch.cuda.get_rng_state() if on_cuda else None,
            extra=[(module, module.get_extra_state()) for module in self._keepers],
            buffers=[(buffer, buffer.clone()) for buffer in self._buffers],
        )

    def take_back(self) -> None:
        """Have all as it was before a step that failed, in which no optimizer has `moved`."""
        assert not self.moved
        if not (beginning := self._beginning):
            return
        torch.set_rng_state(beginning.cpu)
        if beginning.cuda is not None:
            torch.cuda.set_rng_state(beginning.cuda)
        for module, state in beginning.extra:
            module.set_extra_state(state)
        for buffer, value in beginning.buffers:
            buffer.copy_(value)

    def _agree_on_weights(self) -> None:
        """Every process begins with the main one's."""
        if self.accelerator.num_processes == 1:
            return
        nets = [getattr(self.method, name) for name in self.names]
        _broadcast([x.detach() for net in nets for x in (*net.parameters(), *net.buffers())])
        everybodys = gather_object([[checkpoint.digest(net) for net in nets]])
        for name, *found in zip(self.names, *everybodys, strict=True):
            if len(set(found)) > 1:
                raise TrainingError(
                    f"{name} begins with other weights in some processes than in the first: do all "
                    "machines run the same versions of torch?"
                )


@torch.no_grad()
def _average(parameters: Sequence[nn.Parameter], processes: int) -> None:
    """Gradients become their means over the processes, in one exchange for each of their types.

    A gradient that some processes lack counts as 0 there; one that all lack stays away.
    """
    if processes == 1:
        return
    for dtype in dict.fromkeys(each.dtype for each in parameters):
        of_type = [each for each in parameters if each.dtype == dtype]
        own = [each.grad is not None for each in of_type]
        grads = [torch.zeros_like(x) if x.grad is None else x.grad for x in of_type]
        flat = torch.cat([*(x.flatten() for x in grads), grads[0].new_tensor(own)])
        torch.distributed.all_reduce(flat)
        *sums, counts = flat.split([*(x.numel() for x in grads), len(own)])
        for grad, total in zip(grads, sums, strict=True):
            torch.div(total.view_as(grad), processes, out=grad)
        if not all(own):  # else nobody needs to know, and a GPU isn't waited for
            for parameter, grad, count in zip(of_type, grads, counts.tolist(), strict=True):
                parameter.grad = grad if count else None


@torch.no_grad()
def _broadcast(tensors: Iterable[Tensor]) -> None:
    """Tensors become the main process's, in one exchange for each of their types."""
    by_type: dict[torch.dtype, list[Tensor]] = {}
    for each in tensors:
        by_type.setdefault(each.dtype, []).append(each)
    for group in by_type.values():
        flat = torch.cat([each.flatten() for each in group])
        torch.distributed.broadcast(flat, src=0)
        for each, value in zip(group, flat.split([x.numel() for x in group]), strict=True):
            each.copy_(value.view_as(each))
