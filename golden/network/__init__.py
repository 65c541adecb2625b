"""The integer `Network`: the contract between training, the golden executor and the hardware compiler.

A `Network` is a list of layers in execution order. A layer makes one tensor, known by the layer's name.
Tensors hold small unsigned integers ``(T, B, C, H, W)``: spikes (0 or 1), sums of spikes after residuals,
or the 8-bit pixels of the image, whose tensor is called `IMAGE` and is the same at every step.

Semantics of a layer with ``T_l = steps`` (bit for bit what the hardware computes)::

    acc[t]  = W (*) x[t]                        0 where t >= steps of the producer
    H[t]    = U[t-1] + acc[t] + bias            U[-1] = 0
    S[t]    = H[t] >= threshold  (or >, `Neuron.strict`)
    R[t]    = 0 where S else H  (hard reset)    H - threshold * S  (soft reset)
    U[t]    = R[t]  without leak;  R[t] >> 1  with leak and `>=`;  (R[t] + 1) >> 1  with leak and `>`
    S[t]    = 0 and nothing is computed for t >= steps
    y[t]    = pool(S[t])                        spike max-pooling: 3x3, stride 2, padding 1
            = S[t] + residual[t]                residual: another tensor of the same shape

A layer that pools its currents (`Layer.pool_first`) has its neurons behind the pooling, a quarter as many, and its
tensor is what they fire. A window is 3x3 outputs of the convolution, those that are in the map: outside it is nothing,
not zero. The bias is the window's, since ``max(acc) + bias = max(acc + bias)``; of steps without input acc is 0::

    acc[t]  = max over the window of W (*) x[t]     stride 2, padding 1
    y[t]    = S[t]

Outside a tensor a convolution reads zeros. Where zero is not what the image is padded with (its pixels are
normalised in training, and the padding is the mean), the image comes with a frame of `Network.padding_pixel`,
`Network.frame` pixels wide, and the layers that read it have no padding.

**Membrane shortcuts.** A layer that does not fire (`Layer.fires`) is a branch: its tensor is not spikes but a
membrane stream, signed integers with one scale a channel, at all ``T`` steps of the network::

    y[t]    = (acc[t] << shift) + bias + residual[t]    residual: another stream, or nothing where it begins

``acc`` has the unit of the branch's weights, bias and stream the finest unit of the stream's branches;
``shift`` is the exponent of two between them, so that nothing is rounded. A stream is read by layers of kind
"neurons" alone, without weights: ``acc[t] = x[t]``, threshold in units of the stream. So the residual is added
before the neurons, and every dot product sees spikes. Where such neurons have `Layer.whole_map`, ``acc[t]`` is the
sum of the stream over all positions, of which there is one left: the mean over the tokens, whose divisor is in the
thresholds.

**Integer spikes.** Neurons with D = `Neuron.levels` above 1 fire an integer, at the one step of their network, and
keep no potential::

    H = acc + bias
    S = number of thresholds that H reaches (>=), of D ascending ones a channel: 0..D

It is the sum of D binary spikes: of an IF neuron that is charged once and then fires and subtracts its threshold D
times (Spike Firing Approximation, Proposition 1). `Network.coding` says how a dot product takes an integer n apart
into passes of 1-bit planes, "planes" (its bits, each pass shifted) or "unary" (n spikes); the result is the same.

Membrane shortcuts, integer spikes, depthwise convolutions, pooled currents and wide values of the attention are
computed by golden alone for now: the compiler refuses them by name.

Attention layers have ``acc[t] = Q[t] (K[t]^T V[t])`` per head, no weights. The readout has one real-valued
potential a class: ``sum over t, p, c of W[o, c] x[t, p, c] + bias[o]``, and no spikes.

Files: `layer` (the fields), `rules` (what a layer may be), `shapes` (what follows from layers that fit together),
`network`, `file` (its format), `widths` (proof of the number ranges), `neurons` and `execute` (the executor),
`random_network`, and `random_graph` of `dice`, `graph_limits`, `graph_geometry` and `graph_integers`. Those that run
layers need PyTorch, the others do not.
"""

from spikeloom.golden.network.file import FORMAT, VERSION
from spikeloom.golden.network.layer import GROUPS, IMAGE, MOST_SHIFT, PIXEL_BITS, TENSORS, Coding, Kind, Layer, Neuron
from spikeloom.golden.network.network import Network
from spikeloom.golden.network.shapes import LayerShape, Shapes, TensorInfo

__all__ = [
    "FORMAT",
    "GROUPS",
    "IMAGE",
    "MOST_SHIFT",
    "PIXEL_BITS",
    "TENSORS",
    "VERSION",
    "Coding",
    "Kind",
    "Layer",
    "LayerShape",
    "Network",
    "Neuron",
    "Shapes",
    "TensorInfo",
]
