"""The code that MLflow runs to load and use an exported model. It is logged as code, so that nothing is pickled.

Like the exported `model.py` beside it, it does not need this project, only mlflow, numpy, torch and safetensors.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import torch
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel


class ExportedAutoencoder(PythonModel):
    """Reconstructs images. If the parameter `n` is above 0, draws n new images instead, from `prior` if it is given.

    Input and output are float32 [B, C, H, W] in [0, 1]. A DataFrame holds one flattened image per row, in one column.
    """

    def load_context(self, context) -> None:
        source = Path(context.artifacts["model.py"])  # the files it loads are beside it
        name = f"exported_autoencoder_{abs(hash(source))}"  # one process may load several
        spec = importlib.util.spec_from_file_location(name, source)
        assert spec is not None and spec.loader is not None
        sys.modules[name] = module = importlib.util.module_from_spec(spec)  # dataclasses look up their module there
        spec.loader.exec_module(module)
        self.model = module.load()

    def predict(self, context, model_input: np.ndarray, params: dict | None = None) -> np.ndarray:
        params = params or {}
        if count := int(params.get("n", 0)):
            generator = torch.Generator().manual_seed(int(params.get("seed", 0)))
            return self.model.sample(count, generator, prior=params.get("prior") or None).numpy()
        return self.model.reconstruct(torch.tensor(np.asarray(model_input, np.float32))).numpy()


set_model(ExportedAutoencoder())
