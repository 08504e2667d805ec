"""The public functions: the methods on anything array-like, with labels.

Type checkers and editors read `labelled.pyi`, which `python -m tests.labelled_stub` writes from what stands here.
"""

from attrib import functional
from attrib.labels import labelled

saliency = labelled(
    functional.saliency,
    """
    >>> import attrib, xarray as xr
    >>> x = xr.DataArray([[1.0, 2.0]], dims=("cell", "gene"), coords={"gene": ["INS", "GCG"]})
    >>> a = attrib.saliency(lambda x: x[:, 0] - 2 * x[:, 1], x, absolute=False)
    >>> a.dims, a.sel(gene="GCG").values
    (('cell', 'gene'), array([-2.]))
    """,
)
input_x_gradient = labelled(
    functional.input_x_gradient,
    """
    >>> import attrib, xarray as xr
    >>> x = xr.DataArray([[1.0, 2.0]], dims=("cell", "gene"), coords={"gene": ["INS", "GCG"]})
    >>> a = attrib.input_x_gradient(lambda x: x[:, 0] - 2 * x[:, 1], x)
    >>> a.sel(gene="GCG").item()
    -4.0
    """,
)
integrated_gradients = labelled(
    functional.integrated_gradients,
    """
    Baselines are matched by name, and `delta` is the completeness error of each sample:

    >>> import attrib, xarray as xr
    >>> x = xr.DataArray([[1.0, 2.0], [3.0, 6.0]], dims=("cell", "gene"), coords={"gene": ["INS", "GCG"]})
    >>> a = attrib.integrated_gradients(lambda x: x[:, 0] * x[:, 1], x, baselines=x.mean("cell"))
    >>> a.sel(gene="INS").values.round(3), a.prediction.values, float(abs(a.delta).max()) < 1e-6
    (array([-3.,  5.]), array([ 2., 18.]), True)
    """,
)
smooth_grad = labelled(
    functional.smooth_grad,
    """
    >>> import attrib, xarray as xr
    >>> x = xr.DataArray([[1.0, -1.0]], dims=("image", "pixel"))
    >>> attrib.smooth_grad(lambda x: (x**2).sum(1), x, stdevs=0.0).values
    array([[ 2., -2.]])
    """,
)
noise_tunnel = labelled(
    functional.noise_tunnel,
    """
    Options of the inner method go into a partial, and may be labelled:

    >>> from functools import partial
    >>> import attrib, xarray as xr
    >>> x = xr.DataArray([[1.0, -1.0]], dims=("image", "pixel"))
    >>> inner = partial(attrib.integrated_gradients, baselines=xr.DataArray([1.0, 0.0], dims="pixel"))
    >>> attrib.noise_tunnel(inner, lambda x: (x**2).sum(1), x, stdevs=0.0).values.round(3)
    array([[0., 1.]])
    """,
)
gradient_shap = labelled(
    functional.gradient_shap,
    """
    The distribution lies along a dim called `"baseline"`:

    >>> import attrib, xarray as xr
    >>> x = xr.DataArray([[2.0, 1.0]], dims=("cell", "gene"), coords={"gene": ["INS", "GCG"]})
    >>> pool = xr.DataArray([[0.0, 0.0], [0.0, 0.0]], dims=("baseline", "gene"), coords={"gene": ["INS", "GCG"]})
    >>> a = attrib.gradient_shap(lambda x: x[:, 0] - 2 * x[:, 1], x, baselines=pool)
    >>> a.values, a.standard_error.dims
    (array([[ 2., -2.]]), ('cell', 'gene'))
    """,
)
in_silico_mutagenesis = labelled(
    functional.in_silico_mutagenesis,
    """
    >>> import attrib, xarray as xr
    >>> x = xr.DataArray(
    ...     [[[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]]],
    ...     dims=("record", "position", "nucleotide"), coords={"nucleotide": list("ACGT")},
    ... )
    >>> a = attrib.in_silico_mutagenesis(lambda x: x[:, 0, 2] + 2 * x[:, 1, 0], x)
    >>> a.sel(nucleotide="G").values, a.sel(nucleotide="A").values
    (array([[1., 0.]]), array([[0., 2.]]))
    """,
    axis="nucleotide",
    position="position",
)
occlusion = labelled(
    functional.occlusion,
    """
    Sizes of a window are named; a dim that is not named is covered in full:

    >>> import attrib, xarray as xr
    >>> x = xr.DataArray([[[1.0, 2.0, 3.0], [1.0, 1.0, 1.0]]], dims=("sample", "lead", "time"))
    >>> attrib.occlusion(lambda x: x.sum((1, 2)), x, window={"time": 1}).sel(lead=0).values
    array([[2., 3., 4.]])
    """,
)
feature_ablation = labelled(
    functional.feature_ablation,
    """
    Groups are the labels of a coord:

    >>> import attrib, xarray as xr
    >>> coords = {"pathway": ("gene", ["hormone", "hormone", "other"])}
    >>> x = xr.DataArray([[1.0, 2.0, 4.0]], dims=("cell", "gene"), coords=coords)
    >>> attrib.feature_ablation(lambda x: x.sum(1), x, groups="pathway").values
    array([[3., 3., 4.]])
    """,
)
shapley_values = labelled(
    functional.shapley_values,
    """
    Players are the labels of a coord, here pathways; absent ones have the values of other cells, in turn:

    >>> import attrib, xarray as xr
    >>> coords = {"gene": ["INS", "GCG", "SST"], "pathway": ("gene", ["hormone", "hormone", "other"])}
    >>> x = xr.DataArray([[1.0, 2.0, 4.0]], dims=("cell", "gene"), coords=coords)
    >>> others = xr.DataArray([[0.0, 0.0, 0.0], [0.0, 2.0, 2.0]], dims=("baseline", "gene"), coords=coords)
    >>> a = attrib.shapley_values(lambda x: x.sum(1), x, groups="pathway", baselines=others)
    >>> a.values, a.delta.values
    (array([[2., 2., 3.]]), array([0.]))
    """,
)
deep_lift = labelled(
    functional.deep_lift,
    """
    >>> import attrib, torch, xarray as xr
    >>> x = xr.DataArray([[3.0, 1.0]], dims=("cell", "gene"), coords={"gene": ["INS", "GCG"]})
    >>> a = attrib.deep_lift(lambda x: torch.relu(x[:, 0] - x[:, 1]), x)
    >>> a.sel(gene="INS").item(), a.sel(gene="GCG").item()
    (3.0, -1.0)
    """,
)
deep_lift_shap = labelled(
    functional.deep_lift_shap,
    """
    >>> import attrib, xarray as xr
    >>> x = xr.DataArray([[1.0, 3.0]], dims=("cell", "gene"))
    >>> pool = xr.DataArray([[0.0, 0.0], [2.0, 2.0]], dims=("baseline", "gene"))
    >>> attrib.deep_lift_shap(lambda x: x[:, 0] * x[:, 1], x, baselines=pool).values
    array([[-0.5,  1.5]])
    """,
)
grad_cam = labelled(
    functional.grad_cam,
    """
    At the layer's resolution, coords are the centres of its positions:

    >>> import attrib, torch, xarray as xr
    >>> net = torch.nn.Sequential(torch.nn.MaxPool1d(2), torch.nn.AdaptiveAvgPool1d(1), torch.nn.Flatten())
    >>> x = xr.DataArray([[[1.0, 4.0, 2.0, 0.0]]], dims=("record", "lead", "time"), coords={"time": [0, 1, 2, 3]})
    >>> a = attrib.grad_cam(net, x, layer="0", upsample=False)
    >>> a.dims, a.time.values, a.values
    (('record', 'time'), array([0.5, 2.5]), array([[2., 1.]]))
    """,
)
grad_cam_plus_plus = labelled(
    functional.grad_cam_plus_plus,
    """
    >>> import attrib, torch, xarray as xr
    >>> net = torch.nn.Sequential(torch.nn.MaxPool1d(2), torch.nn.AdaptiveAvgPool1d(1), torch.nn.Flatten())
    >>> x = xr.DataArray([[[0.0, 0.0, 4.0, -2.0]]], dims=("record", "lead", "time"))
    >>> attrib.grad_cam_plus_plus(net, x, layer="0", upsample=False).values.round(3)
    array([[0., 1.]])
    """,
)
layer_cam = labelled(
    functional.layer_cam,
    """
    A list of layers gives a dim of layers:

    >>> import attrib, torch, xarray as xr
    >>> net = torch.nn.Sequential(torch.nn.Identity(), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool1d(1), torch.nn.Flatten())
    >>> x = xr.DataArray([[[2.0, -4.0]]], dims=("record", "lead", "time"))
    >>> a = attrib.layer_cam(net, x, layer=["0", "1"], relu=False)
    >>> a.dims, a.sel(layer="1").values
    (('layer', 'record', 'time'), array([[1., 0.]]))
    """,
)
hires_cam = labelled(
    functional.hires_cam,
    """
    >>> import attrib, torch, xarray as xr
    >>> net = torch.nn.Sequential(torch.nn.Identity(), torch.nn.AdaptiveAvgPool1d(1), torch.nn.Flatten())
    >>> x = xr.DataArray([[[4.0, 0.0, -2.0, 2.0]]], dims=("record", "lead", "time"))
    >>> attrib.hires_cam(net, x, layer="0", relu=False).sum("time").item()
    1.0
    """,
)
guided_grad_cam = labelled(
    functional.guided_grad_cam,
    """
    The result has the form of the input, channels too:

    >>> import attrib, torch, xarray as xr
    >>> net = torch.nn.Sequential(torch.nn.Identity(), torch.nn.AdaptiveAvgPool1d(1), torch.nn.Flatten())
    >>> x = xr.DataArray([[[4.0, 0.0, -2.0, 2.0]]], dims=("record", "lead", "time"))
    >>> attrib.guided_grad_cam(attrib.input_x_gradient, net, x, layer="0").values
    array([[[ 1.  ,  0.  , -0.  ,  0.25]]])
    """,
)
