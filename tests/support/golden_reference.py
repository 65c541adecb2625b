"""A network in plain Python integers and loops, written from the text of `spikeloom.golden.network` alone.

The slow and obvious counterpart that the executor, the counts and the width proof are compared with.
Tensors are dictionaries from (t, channel, row, column) to integers, of one image.
"""

from spikeloom.golden.network import IMAGE


def at(tensor, t, c, y, x):
    """A value; zero outside the image, and at steps that the producer does not have."""
    return tensor.get((t, c, y, x), 0)


def receptive_field(layer, y, x):
    """Weight and input coordinates (ky, kx, row, column) of an output position, also outside the image."""
    for ky in range(layer.kernel):
        for kx in range(layer.kernel):
            yield ky, kx, y * layer.stride + ky - layer.padding, x * layer.stride + kx - layer.padding


def accumulate(layer, tensor, t, o, y, x):
    """The terms of ``acc`` that are not zero, as a list, at one output."""
    t = 0 if layer.inputs[0] == IMAGE else t
    channels = [(o, 0)] if layer.depthwise else [(i, i) for i in range(layer.channels_in)]  # of input and of weight
    return [
        int(layer.weight[o, column_of_weight, ky, kx]) * at(tensor, t, i, row, column)
        for ky, kx, row, column in receptive_field(layer, y, x)
        for i, column_of_weight in channels
        if at(tensor, t, i, row, column)
    ]


def attend(layer, q, k, v, t, o, y, x):
    """``Q K^T V`` at one output, Q K^T first: the order that the hardware does not use."""
    width = layer.channels_in // layer.heads
    number = o // (layer.channels_out // layer.heads)
    head = range(number * width, (number + 1) * width)
    total = 0
    for row in range(layer.height_in):
        for column in range(layer.width_in):
            score = sum(at(q, t, c, y, x) * at(k, t, c, row, column) for c in head)
            total += score * at(v, t, o, row, column)
    return total


def pooled(layer, tensor, t, o, y, x):
    """The largest ``acc`` of a 3x3 window of stride 2: of its places in the map alone."""
    return max(
        sum(accumulate(layer, tensor, t, o, row, column))
        for row in range(2 * y - 1, 2 * y + 2)
        for column in range(2 * x - 1, 2 * x + 2)
        if 0 <= row < layer.height_conv and 0 <= column < layer.width_conv
    )


def neuron_step(layer, o, u, acc):
    """``H``, ``S`` and the new ``U`` of one neuron."""
    if layer.neuron.levels > 1:
        h = acc + int(layer.bias[o])
        return h, sum(h >= int(level) for level in layer.threshold[:, o]), 0
    threshold, neuron = int(layer.threshold[o]), layer.neuron
    h = u + acc + int(layer.bias[o])
    s = h > threshold if neuron.strict else h >= threshold
    r = (0 if neuron.hard else h - threshold) if s else h
    if neuron.leak:
        r = -(-r // 2) if neuron.strict else r // 2
    return h, int(s), r


def stream(layer, source, tensors, steps):
    """What a branch adds to the membrane stream, and what was there."""
    found = {}
    for t in range(steps):
        for o in range(layer.channels_out):
            for y in range(layer.height_conv):
                for x in range(layer.width_conv):
                    acc = sum(accumulate(layer, source, t, o, y, x))
                    value = acc * 2 ** int(layer.shift[o]) + int(layer.bias[o])
                    if layer.residual is not None:
                        value += tensors[layer.residual][t, o, y, x]
                    found[t, o, y, x] = value
    return found


def run(network, image):
    """Class sums, and by layer name spikes, potentials and tensors of one image (C, H, W)."""
    tensors = {
        IMAGE: {
            (0, c, y, x): int(image[c, y, x])
            for c in range(network.channels)
            for y in range(network.height)
            for x in range(network.width)
        }
    }
    steps = {IMAGE: 1}
    all_spikes, all_potentials = {}, {}
    for layer in network.layers[:-1]:
        sources = [tensors[name] for name in layer.inputs]
        if not layer.fires:
            tensors[layer.name], steps[layer.name] = stream(layer, sources[0], tensors, network.steps), network.steps
            continue
        spikes, potentials = {}, {}
        for o in range(layer.channels_out):
            for y in range(layer.height_out if layer.pool_first else layer.height_conv):
                for x in range(layer.width_out if layer.pool_first else layer.width_conv):
                    u = 0
                    for t in range(layer.steps):
                        if layer.kind == "attention":
                            acc = attend(layer, *sources, t, o, y, x)
                        elif layer.whole_map:
                            acc = sum(n for key, n in sources[0].items() if key[:2] == (t, o))
                        elif layer.kind == "neurons":
                            acc = at(sources[0], t, o, y, x)
                        elif layer.pool_first:
                            acc = pooled(layer, sources[0], t, o, y, x)
                        else:
                            acc = sum(accumulate(layer, sources[0], t, o, y, x))
                        key = (t, o, y, x)
                        potentials[key], spikes[key], u = neuron_step(layer, o, u, acc)
        tensor, steps[layer.name] = dict(spikes), layer.steps
        if layer.pool and not layer.pool_first:
            tensor = {
                (t, o, y, x): max(at(spikes, t, o, 2 * y + dy, 2 * x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1))
                for t in range(layer.steps)
                for o in range(layer.channels_out)
                for y in range(layer.height_out)
                for x in range(layer.width_out)
            }
        if layer.residual is not None:
            other = tensors[layer.residual]
            tensor = {key: tensor.get(key, 0) + other.get(key, 0) for key in tensor.keys() | other.keys()}
            steps[layer.name] = max(layer.steps, steps[layer.residual])
        tensors[layer.name] = tensor
        all_spikes[layer.name], all_potentials[layer.name] = spikes, potentials
    head = network.layers[-1]
    sums = [
        int(head.bias[o]) + sum(int(head.weight[o, c, 0, 0]) * n for (_, c, _, _), n in tensors[head.inputs[0]].items())
        for o in range(head.channels_out)
    ]
    return sums, all_spikes, all_potentials, tensors, steps
