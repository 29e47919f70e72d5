"""A history of generated images for the discriminator (Shrivastava et al. 2017, section 2.3)."""

from typing import Any

import torch
from torch import Tensor, nn


class ImagePool(nn.Module):
    """Hands back the new image or, half of the time once full, an older one in exchange for it.

    As `util/image_pool.py` of the CycleGAN reference, image by image. The draws come from torch's
    global CPU generator, which is seeded per process; the stored images are part of a checkpoint.

    Args:
        size: images kept; 0 passes everything through.
    """

    def __init__(self, size: int = 50) -> None:
        super().__init__()
        self.size = size
        self.images: list[Tensor] = []

    @torch.no_grad()
    def query(self, fresh: Tensor) -> Tensor:
        """Fresh images (N, 3, H, W) -> as many, some from earlier queries, without graph."""
        if self.size == 0:
            return fresh.detach()
        return torch.stack([self._exchange(image) for image in fresh.detach()])

    def _exchange(self, image: Tensor) -> Tensor:
        if len(self.images) < self.size:
            self.images.append(image.clone())
            return image
        if torch.rand(()).item() < 0.5:
            return image
        slot = int(torch.randint(self.size, ()))
        stored, self.images[slot] = self.images[slot], image.clone()
        return stored

    def get_extra_state(self) -> dict[str, Any]:
        """The stored images, for a checkpoint."""
        return {"images": list(self.images)}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take the images of a checkpoint back.

        Raises:
            ValueError: they are too many, or no images.
        """
        images = list(state["images"])
        if len(images) > self.size or any(image.dim() != 3 for image in images):
            raise ValueError(f"its pool isn't one of {self.size} images")
        self.images = images
