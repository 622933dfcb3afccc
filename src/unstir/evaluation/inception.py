"""Features of the Inception network that published FID and KID values rest on; an optional extra."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from unstir.evaluation.inputs import flat

_INSTALL = "Inception features need two more packages: pip install 'unstir[inception]'"


class InceptionFeatures:
    """The 2,048 pooled features of Inception v3 with the weights of the original FID (Heusel et al. 2017).

    Images are resized to 299 x 299 as TensorFlow 1 did, so the values compare with published ones, which
    take 50,000 samples. The weights (91 MB) are downloaded once, into torch's hub folder.

    Args:
        device: where the network runs.
        batch: images at once.

    Raises:
        ImportError: where the extra packages are not installed, with the command that installs them.
        OSError: where the weights are not there and cannot be downloaded.
    """

    def __init__(self, device: torch.device | str = "cpu", batch: int = 64) -> None:
        if batch < 1:
            raise ValueError(f"a batch holds at least one image, got {batch}")
        self.device = torch.device(device)
        self.batch = batch
        self.network = _network().to(self.device)

    def features(self, x: Tensor) -> Tensor:
        """Features of images with values in [-1, 1]; values outside are clipped as a saved image would be.

        Args:
            x: (n, 3, H, W), or (n, 1, H, W) for grey images.

        Returns:
            (n, 2048) float32 on the device of x.

        Raises:
            ValueError: for another shape or values that are not finite.
        """
        flat(x, "x", least=1)
        if x.ndim != 4 or x.shape[1] not in (1, 3):
            raise ValueError(
                f"Inception features take images of shape (n, 1 or 3, H, W), got {tuple(x.shape)}"
            )
        found = []
        with torch.no_grad():
            for some in torch.split(x, self.batch):
                pixels = ((some.float() + 1.0) * 127.5).round().clamp(0, 255).to(torch.uint8)
                found.append(self.network(pixels.expand(-1, 3, -1, -1).to(self.device)))
        return torch.cat(found).to(x.device)


def _network() -> Any:
    try:
        from torchmetrics.image.fid import NoTrainInceptionV3

        # Building it draws initial weights, which the download then replaces.
        with torch.random.fork_rng(devices=[]):
            return NoTrainInceptionV3("inception-v3-compat", ["2048"], antialias=False)
    except ImportError as error:
        raise ImportError(f"{_INSTALL} ({error})") from None
    except (OSError, RuntimeError) as error:
        folder = f"{torch.hub.get_dir()}/checkpoints"
        raise OSError(
            f"the Inception network could not be loaded ({error}): connect to the internet once, so that its "
            f"weights reach {folder}, or use a Judge or PCAFeatures instead"
        ) from None
