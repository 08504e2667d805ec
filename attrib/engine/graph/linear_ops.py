"""ATen ops that are linear in a tensor: what reads graphs knows them by these names."""

from __future__ import annotations

import torch

aten = torch.ops.aten

VIEWS = (
    *(aten.reshape, aten.alias, aten.clone, aten.contiguous, aten.expand),
    *(aten.permute, aten.transpose, aten.t, aten.squeeze, aten.unsqueeze, aten.flip, aten.roll, aten.repeat),
    *(aten.select, aten.slice, aten.unbind, aten.split, aten.split_with_sizes, aten.narrow, aten.diagonal),
    *(aten.unsafe_split, aten.unsafe_split_with_sizes, aten.unfold, aten.view_as_real),
    *(aten.view_as_complex, aten.pixel_shuffle, aten.pixel_unshuffle, aten.channel_shuffle, aten.rot90),
)
GATHERS = (
    *(aten.index, aten.index_select, aten.gather, aten.take, aten.masked_select),
    *(aten.im2col, aten.col2im, aten.tril, aten.triu),
    *(aten.reflection_pad1d, aten.reflection_pad2d, aten.reflection_pad3d),
    *(aten.replication_pad1d, aten.replication_pad2d, aten.replication_pad3d),
)
SUMS = (
    *(aten.sum, aten.mean, aten.cumsum, aten.neg, aten.trace, aten.real, aten.imag),
    *(aten._fft_r2c, aten._fft_c2r, aten._fft_c2c, aten._conj, aten._conj_physical, aten.resolve_conj),
)
AVERAGES = (
    *(aten.avg_pool1d, aten.avg_pool2d, aten.avg_pool3d),
    *(aten.adaptive_avg_pool1d, aten._adaptive_avg_pool2d, aten._adaptive_avg_pool3d),
    *(aten.upsample_nearest1d, aten.upsample_nearest2d, aten.upsample_nearest3d),
    *(aten._upsample_nearest_exact1d, aten._upsample_nearest_exact2d, aten._upsample_nearest_exact3d),
    *(aten.upsample_linear1d, aten.upsample_bilinear2d, aten.upsample_bicubic2d, aten.upsample_trilinear3d),
    *(aten._upsample_bilinear2d_aa, aten._upsample_bicubic2d_aa),
)
