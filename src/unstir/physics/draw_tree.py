"""Pictures of trees: the branches over time, the lineages on a map."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from unstir.spaces import Tree

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from unstir.physics.fit_tree import LocationFit, RegionTreeFit, TreeFit

COLOURS = (
    "#1f6feb",
    "#d9480f",
    "#2b8a3e",
    "#7048e8",
    "#e6a700",
    "#0b7285",
    "#c2255c",
    "#868e96",
    "#5c940d",
    "#22303c",
)
_SHOWN = 150
_LONG = 20


def heights(tree: Tree) -> Tensor:
    """Where to draw each node, (n,): tips at 0, 1, 2, ..., small clades first, parents amid children."""
    count = (tree.child_counts == 0).long()
    for nodes in reversed(tree.levels[1:]):
        count.index_add_(0, tree.parent[nodes], count[nodes])
    first = torch.zeros(len(tree), dtype=torch.int64)
    for nodes in tree.levels[1:]:
        parents = tree.parent[nodes]
        order = np.lexsort((count[nodes].numpy(), tree.places[parents].numpy()))
        nodes, parents = nodes[torch.from_numpy(order)], parents[torch.from_numpy(order)]
        before = count[nodes].cumsum(0) - count[nodes]
        start = torch.searchsorted(tree.places[parents].contiguous(), tree.places[parents].contiguous())
        first[nodes] = first[parents] + before - before[start]
    y = first.to(torch.float64)
    for nodes in reversed(tree.levels[1:]):
        parents = tree.parent[nodes]
        total = torch.zeros(len(tree), dtype=torch.float64).index_add_(0, parents, y[nodes])
        y[parents] = total[parents] / tree.child_counts[parents]
    return y


def draw_branches(
    axes: Axes, tree: Tree, colours: list[str], *, until: float = float("inf"), lw: float = 1.2
) -> None:
    """Draw the tree over time, each edge in its node's colour, up to a time from the root."""
    from matplotlib.collections import LineCollection

    y, depth = heights(tree).tolist(), tree.depth.tolist()
    lines, shades = [], []
    for node, parent in enumerate(tree.parent.tolist()):
        if parent < 0 or depth[parent] > until:
            continue
        end = min(depth[node], until)
        lines.append([(depth[parent], y[parent]), (depth[parent], y[node]), (end, y[node])])
        shades.append(colours[node])
    axes.add_collection(LineCollection(lines, colors=shades, linewidths=lw, capstyle="round"))
    axes.set_xlim(-0.02 * max(depth), 1.02 * max(depth))
    axes.set_ylim(-1, len(tree.tips))
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)


def draw_fit(figure: Figure, fit: TreeFit) -> None:
    """Draw what was fitted into an empty figure: a map, or the tree in the regions' colours, or both."""
    parts = [part for part in (fit.locations, fit.regions) if part is not None]
    panels = figure.subplots(len(parts), 2, squeeze=False, gridspec_kw={"width_ratios": [1.3, 1.0]})
    row = iter(panels)
    if fit.locations is not None:
        _draw_locations(next(row), fit, fit.locations)
    if fit.regions is not None:
        _draw_regions(next(row), fit, fit.regions)


def _shade(values: Tensor, name: str = "viridis") -> list[str]:
    import matplotlib as mpl
    from matplotlib.colors import to_hex

    span = (values - values.min()) / (values.max() - values.min()).clamp(min=1e-300)
    return [to_hex(mpl.colormaps[name](0.9 * float(v))) for v in span]


def _draw_locations(panels: np.ndarray, fit: TreeFit, found: LocationFit) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.collections import EllipseCollection, LineCollection
    from matplotlib.colors import LinearSegmentedColormap, Normalize

    from unstir.physics.fit_tree import number

    tree, motion = fit.tree, found.motion
    left, right = panels
    latitude, longitude = motion.places[:, 0].numpy(), _unrolled(tree, motion.places[:, 1]).numpy()
    shades = _shade(tree.depth)
    below = (tree.parent >= 0).nonzero()[:, 0].tolist()
    parent = tree.parent.tolist()
    lines = [[(longitude[parent[i]], latitude[parent[i]]), (longitude[i], latitude[i])] for i in below]
    left.add_collection(LineCollection(lines, colors=[shades[i] for i in below], linewidths=0.8, alpha=0.8))
    branchings = (tree.child_counts > 0).nonzero()[:, 0]
    inner = branchings[tree.depth[branchings].argsort()][:_SHOWN].numpy()
    # A degree of longitude is shorter away from the equator: the circle becomes an ellipse.
    high = 2.0 * motion.deviations.numpy()[inner] / 111.2
    wide = high / np.cos(np.deg2rad(latitude[inner])).clip(min=0.05)
    left.add_collection(
        EllipseCollection(
            wide,
            high,
            np.zeros(len(inner)),
            units="xy",
            offsets=np.stack([longitude, latitude], 1)[inner],
            transOffset=left.transData,
            facecolors=[shades[i] for i in inner],
            alpha=0.08,
        )
    )
    tips = tree.tips.numpy()
    left.plot(longitude[tips], latitude[tips], ".", color="#22303c", ms=3, label="tips")
    left.plot(longitude[tree.root], latitude[tree.root], "*", color="#d9480f", ms=13, label="root")
    left.set_xlabel("longitude (degrees)")
    left.set_ylabel("latitude (degrees)")
    left.set_aspect(1.0 / max(0.05, float(np.cos(np.deg2rad(latitude.mean())))), adjustable="datalim")
    left.autoscale_view()
    left.legend(loc="best")
    scale = LinearSegmentedColormap.from_list("time", _shade(torch.linspace(0, 1, 32)))
    bar = ScalarMappable(Normalize(0.0, float(tree.depth.max())), scale)
    left.figure.colorbar(bar, ax=left, label=f"time since the root ({fit.unit}s)", shrink=0.8)
    draw_branches(right, tree, shades, lw=0.8)
    right.set_xlabel(f"time since the root ({fit.unit}s)")
    right.set_title(f"D = {number(float(motion.D))} km$^2$/{fit.unit}", loc="left")


def _draw_regions(panels: np.ndarray, fit: TreeFit, found: RegionTreeFit) -> None:
    left, right = panels
    best = found.marginals.argmax(1).tolist()
    colours = [COLOURS[i % len(COLOURS)] for i in best]
    draw_branches(left, fit.tree, colours)
    left.set_xlabel(f"time since the root ({fit.unit}s)")
    short = _short(found.names)
    for i, name in enumerate(short):
        left.plot([], [], color=COLOURS[i % len(COLOURS)], lw=3, label=name)
    left.legend(loc="upper left", fontsize=8)
    left.set_title("most probable regions", loc="left")
    rates = sorted(found.rates, key=lambda rate: rate.value)[-20:]
    span = max(rate.value for rate in rates)
    for y, rate in enumerate(rates):
        low, middle = max(rate.low, 1e-4 * span), max(rate.value, 1e-4 * span)
        high = rate.high if np.isfinite(rate.high) else 1e3 * span
        right.plot([low, high], [y, y], color="#adb5bd", lw=3, solid_capstyle="butt")
        right.plot(middle, y, "o", color="#1f6feb", ms=5)
    right.set_yticks(
        range(len(rates)), [_renamed(rate.name, found.names, short) for rate in rates], fontsize=8
    )
    right.set_xscale("log")
    right.set_xlabel(f"rate (per {fit.unit}) with {100 * fit.level:g} % interval")


def _short(names: list[str]) -> list[str]:
    """Long names without what all begin with, cut to a length that leaves room for the picture."""
    start = 0
    if max(map(len, names)) > _LONG:
        while all(len(name) > start + 1 and name[start] == names[0][start] for name in names):
            start += 1
    cut = [name[start:] for name in names]
    return [name if len(name) <= _LONG else name[: _LONG - 1] + "…" for name in cut]


def _renamed(rate: str, names: list[str], short: list[str]) -> str:
    for joint in (" - ", " -> "):
        one, found, other = rate.partition(joint)
        if found and one in names and other in names:
            return f"{short[names.index(one)]}{joint}{short[names.index(other)]}"
    return rate


def _unrolled(tree: Tree, longitude: Tensor) -> Tensor:
    """Longitudes without a jump along any edge, also where lineages cross the date line."""
    result = longitude.clone()
    for nodes in tree.levels[1:]:
        above = result[tree.parent[nodes]]
        result[nodes] = above + torch.remainder(longitude[nodes] - above + 180.0, 360.0) - 180.0
    return result
