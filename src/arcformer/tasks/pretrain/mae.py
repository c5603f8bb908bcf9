"""The masked autoencoder (He et al. 2021, arXiv 2111.06377): what is hidden is filled in from the few cells shown.

The encoder sees a quarter of the tokens, so that a step costs a fraction of one on the whole image; a light decoder
fills in the pixels of the others. Only hidden pixels count.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F

from arcformer.batch import LensBatch
from arcformer.models import Backbone, TokenBackbone
from arcformer.models.fitting import centred
from arcformer.tasks.base import TASKS
from arcformer.tasks.pretrain.decoder import Decoder
from arcformer.tasks.pretrain.draws import Draws
from arcformer.tasks.pretrain.masking import Masks, hide, on_pixels
from arcformer.tasks.pretrain.misfit import Misfit
from arcformer.tasks.pretrain.reconstruction import FillsIn
from arcformer.tasks.shown import channels_and_stride, with_tokens

__all__ = ["MAE"]


@TASKS.register("mae")
class MAE(FillsIn):
    """Pretraining as a masked autoencoder.

    A convolutional stem sees a few pixels beyond its patch, which gives away the rim of hidden ones; with ``patch`` as
    stem nothing is given away.

    Args:
        backbone: one with tokens.
        classes: names of the classes; may be empty.
        ratio: the share of the cells that is hidden.
        masks: ``random``, ``arcs``, bright cells rather than sky, or ``blocks``; see ``masking.hide``.
        loss: ``chi2`` or ``mse``, see ``misfit.misfit``.
        decoder_blocks: 1 or 2.
        least_rank: see ``Objective``.

    Raises:
        InputError: for a backbone that cannot leave out tokens, or options that cannot be.
    """

    backbone: TokenBackbone

    def __init__(
        self,
        backbone: Backbone,
        classes: Sequence[str],
        *,
        ratio: float = 0.75,
        masks: Masks = "random",
        loss: Misfit = "chi2",
        decoder_blocks: int = 1,
        least_rank: float = 1.5,
    ):
        super().__init__(with_tokens(backbone, "mae", "simmim"), classes, ratio, masks, loss, least_rank)
        channels, _ = channels_and_stride(backbone)
        self.decoder = Decoder(backbone, backbone.dim, channels * self.backbone.stride**2, blocks=decoder_blocks)

    def filled(self, batch: LensBatch, draws: Draws) -> tuple[Tensor, Tensor]:
        """The decoder's pixels (B, C, H, W), zero where an image was shown; and where it was not, (B, 1, H, W)."""
        images, (height, width), stride = batch.images, batch.images.shape[-2:], self.backbone.stride
        tokens = self.backbone.tokenize(images, batch.context)
        kept, hidden = hide(images, tokens.grid, stride, ratio=self.ratio, masks=self.masks, draws=draws)
        pixels = self.decoder(self.backbone.encode(tokens.at(kept)), hidden).float()
        cells = tokens.x.shape[1]
        whole = pixels.new_zeros(len(images), cells, pixels.shape[2])
        whole = whole.scatter(1, hidden[..., None].expand_as(pixels), pixels)
        planes = F.pixel_shuffle(whole.transpose(1, 2).unflatten(2, tokens.grid), stride)
        return centred(planes, height, width), on_pixels(hidden, tokens.grid, stride, height, width)
