"""In which numbers encoder and decoder are trained: the trial parameter `precision`.

bf16 is float32 with 8 bits of its mantissa in place of 24. Processors with AVX512-BF16 or AMX, and GPUs, multiply
such matrices faster. Under `bf16` torch's autocast runs both networks forward in it, and so their backward pass.
Weights, what the networks return, and all that is computed from either stay in float32.
"""

from __future__ import annotations

import platform

import torch
import torch.nn as nn
from torch import Tensor


def run_network(network: nn.Module, inputs: Tensor, precision: str) -> Tensor:
    """What a network returns for its inputs, in float32.

    Args:
        network: An encoder or decoder.
        inputs: Float32, [B, ...].
        precision: `TrialConfig.precision`.
    """
    if precision == "float32":
        return network(inputs)
    with torch.autocast(inputs.device.type, torch.bfloat16):
        return network(inputs).float()


def has_fast_bf16(device: torch.device) -> bool:
    """Whether a device has instructions for bf16, as AVX512-BF16, AMX and GPUs from Ampere on have."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = getattr(torch.cpu, "get_capabilities", None)
    if capabilities is None:  # an earlier torch cannot tell
        return True
    found = capabilities()
    return any(found.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16"))


def precision_warnings(precision: str, device: torch.device) -> list[str]:
    """One line if training in this precision gains nothing on this device, else none."""
    if precision == "float32" or has_fast_bf16(device):
        return []
    name = "this GPU" if device.type == "cuda" else f"this processor ({platform.machine()})"
    return [f"precision={precision}: {name} has no instructions for bf16, so nothing is gained, and it may be slower"]
