"""Images as a core wants them: shape, frame, words."""

import numpy as np
import pytest

from spikeloom.gen.host.pixels import MOST_PADDED_CHANNELS, ImageFormat, pack_pixels
from spikeloom.golden.network import Network
from spikeloom.golden.network.random_network import random_images, random_network

PLAIN = ImageFormat(channels=1, height=8, width=8, classes=10)
FRAMED = ImageFormat(channels=3, height=6, width=7, frame=1, padding_pixel=(1, 2, 250), classes=4)


def test_words():
    """Rows by columns by channels, first in the low byte, the last word padded; one image or many."""
    image = np.arange(1, 13, dtype=np.uint8).reshape(3, 2, 2)  # 1 2 / 3 4, 5 6 / 7 8, 9 10 / 11 12
    assert pack_pixels(image).tolist() == [0x02090501, 0x07030A06, 0x0C08040B]
    assert pack_pixels(image[:1, :1]).tolist() == [0x0201]
    many = np.stack([image, image[::-1]])
    assert pack_pixels(many).tolist() == [pack_pixels(one).tolist() for one in many]


def test_frame_is_the_networks():
    """Around one image or many what golden puts there; an image that has its frame keeps it."""
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 5), np.uint8)
    framed = FRAMED.framed(images)
    assert np.array_equal(framed, Network.framed(_Stand(), images))
    assert np.array_equal(FRAMED.framed(images[0]), framed[0])
    assert np.array_equal(FRAMED.framed(framed), framed)
    plain = random_images(random_network(1), 2)
    assert PLAIN.framed(plain) is plain


class _Stand:
    """What `Network.framed` reads."""

    padding_pixel, frame, height, width, image_shape = (1, 2, 250), 1, 6, 7, (3, 4, 5)


@pytest.mark.parametrize("shown", [PLAIN, FRAMED])
def test_registers(shown):
    assert len(shown.words()) == 16
    assert ImageFormat.from_words(shown.words(program_hash=5)) == shown
    assert shown.words(program_hash=5)[0] == 5


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: pack_pixels(np.zeros((8, 8), np.uint8)), ValueError, "an image must be .channels, height, width."),
        (lambda: pack_pixels(np.zeros((1, 8, 8))), TypeError, "pixels must be uint8, not float64"),
        (lambda: PLAIN.framed(np.zeros((1, 8, 8))), TypeError, "pixels must be uint8, not float64"),
        (
            lambda: PLAIN.framed(np.zeros((1, 16, 16), np.uint8)),
            ValueError,
            r"must have \(channels, height, width\) \(1, 8, 8\), not \(1, 16, 16\)",
        ),
        (
            lambda: ImageFormat(channels=2, height=4, width=4, frame=1, padding_pixel=(1,), classes=2),
            ValueError,
            "padding_pixel must have a number for each channel",
        ),
        (
            lambda: ImageFormat(
                channels=MOST_PADDED_CHANNELS + 1,
                height=4,
                width=4,
                frame=1,
                padding_pixel=(1,) * (MOST_PADDED_CHANNELS + 1),
                classes=2,
            ),
            ValueError,
            "at most 40 channels",
        ),
    ],
)
def test_wrong(call, error, message):
    with pytest.raises(error, match=message):
        call()
