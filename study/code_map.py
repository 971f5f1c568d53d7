"""Codes that are maps [c, h, w]: their networks, and what latent sizes make whole maps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from study.built_in import BUILT_IN
from study.errors import UserError

if TYPE_CHECKING:
    from study.config import DataSummary

NO_MAP = "-"
"""`TrialConfig.latent_shape` of a code that is no map, or whose map nobody has named yet."""


def map_pixels(data: DataSummary, network: str) -> int:
    """Pixels of a code map, height times width: a code of c channels has c times as many units.

    Raises:
        UserError: The network's codes are no maps.
    """
    maps = {name: item.downsampling for name, item in BUILT_IN.of_kind("network").items() if item.downsampling}
    if network not in maps:
        raise UserError(f"network={network}: its code is no map; choose from {', '.join(maps)}")
    _, height, width = map_shape(data, network, maps[network])
    return height * width


def map_shape(data: DataSummary, network: str, factor: int, latent_dim: int | None = None) -> tuple[int, int, int]:
    """Channels, height and width of a code's map; 1 channel if the latent size is not given.

    Args:
        data: The images.
        network: The network's name.
        factor: By how much its map is smaller than the image.
        latent_dim: Units of the code.

    Raises:
        UserError: `latent_dim` is no multiple of the map's pixels.
    """
    height, width = -(-data.height // factor), -(-data.width // factor)
    pixels = height * width
    channels, rest = (1, 0) if latent_dim is None else divmod(latent_dim, pixels)
    if rest or not channels:
        below = f"{channels * pixels} or " if channels else ""
        raise UserError(
            f"latent_dim={latent_dim}: network {network} needs a multiple of {pixels} for images of "
            f"{data.height}x{data.width}, the nearest is {below}{(channels + 1) * pixels}"
        )
    return channels, height, width


def shape_text(shape: tuple[int, int, int] | None) -> str:
    """As `TrialConfig.latent_shape` records it: `16x8x8`."""
    return NO_MAP if shape is None else "x".join(map(str, shape))
