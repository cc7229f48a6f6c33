"""How each peer is installed, started and asked, as its own documentation says."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any

FEATURES = 20
RECORD = {f"x{number}": 0.123456 * number + 0.75 for number in range(FEATURES)}
FIT = f"""
import numpy as np
from sklearn.linear_model import LogisticRegression

def fit():
    dice = np.random.default_rng(1)
    features = dice.random((2_000, {FEATURES}))
    return LogisticRegression(max_iter=500).fit(features, features.sum(axis=1) > {FEATURES / 2})

def ask(model, record):
    return float(model.predict_proba([list(record.values())])[0, 1])

def ask_many(model, records):
    return model.predict_proba([list(each.values()) for each in records])[:, 1].tolist()
"""
DOT = (
    FIT.replace("def fit()", "def fitted()").partition("def ask(")[0]
    + """
import math

def fit():
    model = fitted()
    return model.coef_[0].tolist(), float(model.intercept_[0])

def ask(model, record):
    weights, total = model
    for weight, value in zip(weights, record.values()):
        total += weight * value
    return 1 / (1 + math.exp(-total))

def ask_many(model, records):
    return [ask(model, each) for each in records]
"""
)
#: Of peers: as many calls as there are callers, and the seconds for which they are waited for.
BATCH, WAIT_S = 32, 0.002


@dataclass(frozen=True)
class Variant:
    """How a peer differs when it serves another way."""

    #: What stands where in its files.
    swaps: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    body: dict[str, Any] | None = None
    prepare: str | None = None


@dataclass(frozen=True)
class Peer:
    """How one peer is installed, started and asked. Files are written into a folder of its own, PORT filled in."""

    packages: tuple[str, ...]
    files: dict[str, str]
    command: tuple[str, ...]
    path: str
    body: dict[str, Any]
    #: Made before the server starts, by the peer's Python.
    prepare: str = ""
    more: dict[str, str] = field(default_factory=dict)
    #: How it gathers calls, if it can.
    batched: Variant | None = None
    #: How it serves a model in plain Python.
    dot: Variant = Variant({FIT: DOT})

    @property
    def gathering(self) -> "Peer | None":
        """The same peer as it gathers calls, if it can."""
        return self.varied(self.batched) if self.batched is not None else None

    def varied(self, variant: Variant) -> "Peer":
        """The same peer serving that way."""
        files = {name: _swapped(text, variant.swaps) for name, text in (self.files | variant.files).items()}
        prepare = self.prepare if variant.prepare is None else variant.prepare
        return dataclasses.replace(self, files=files, body=variant.body or self.body, prepare=prepare)


PEERS = {
    "MLServer": Peer(
        ("mlserver", "mlserver-sklearn", "scikit-learn", "uvloop<0.22"),
        {
            "settings.json": '{"http_port": PORT, "grpc_port": PORT1, "metrics_port": PORT2, "parallel_workers": 0}',
            "model-settings.json": '{"name": "m", "implementation": "mlserver_sklearn.SKLearnModel", '
            '"parameters": {"uri": "model.joblib"}}',
        },
        ("bin/mlserver", "start", "."),
        "/v2/models/m/infer",
        {
            "inputs": [
                {"name": "x", "shape": [1, FEATURES], "datatype": "FP64", "data": list(RECORD.values())},
            ],
            "outputs": [{"name": "predict_proba"}],
        },
        FIT + "import joblib\njoblib.dump(fit(), 'model.joblib')",
        batched=Variant({'"name": "m",': f'"name": "m", "max_batch_size": {BATCH}, "max_batch_time": {WAIT_S},'}),
        dot=Variant(
            {"mlserver_sklearn.SKLearnModel": "dot.Dot", '"uri": "model.joblib"': ""},
            {
                "dot.py": DOT
                + """
import numpy
from mlserver import MLModel
from mlserver.codecs import decode_args

class Dot(MLModel):
    async def load(self) -> bool:
        self.model = fit()
        return True

    @decode_args
    async def predict(self, x: numpy.ndarray) -> numpy.ndarray:
        return numpy.array([ask(self.model, dict(enumerate(x[0].tolist())))])
"""
            },
            {"inputs": [{"name": "x", "shape": [1, FEATURES], "datatype": "FP64", "data": list(RECORD.values())}]},
            "",
        ),
    ),
    "LitServe": Peer(
        ("litserve", "scikit-learn"),
        {
            "serve.py": FIT
            + """
import litserve

class Served(litserve.LitAPI):
    def setup(self, device):
        self.model = fit()

    def decode_request(self, request):
        return request

    def predict(self, record):
        return ask(self.model, record)

    def encode_response(self, output):
        return {"result": output}

if __name__ == "__main__":
    server = litserve.LitServer(Served(), accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=PORT, num_api_servers=1, generate_client_file=False, log_level="warning")
"""
        },
        ("bin/python", "serve.py"),
        "/predict",
        RECORD,
        batched=Variant(
            {
                "Served(), ": f"Served(max_batch_size={BATCH}, batch_timeout={WAIT_S}), ",
                "        return ask(self.model, record)": "        return ask_many(self.model, record)",
                "    def encode_response": "    def batch(self, inputs):\n        return list(inputs)\n\n"
                "    def unbatch(self, output):\n        return list(output)\n\n    def encode_response",
            }
        ),
    ),
    "BentoML": Peer(
        ("bentoml", "scikit-learn"),
        {
            "service.py": FIT
            + """
import bentoml

@bentoml.service(workers=1)
class Served:
    def __init__(self):
        self.model = fit()

    @bentoml.api
    def predict(self, record: dict) -> float:
        return ask(self.model, record)
"""
        },
        ("bin/bentoml", "serve", "service:Served", "--port", "PORT", "--host", "127.0.0.1"),
        "/predict",
        {"record": RECORD},
        batched=Variant(
            {
                "bentoml.api\n": f"bentoml.api(batchable=True, max_batch_size={BATCH}, max_latency_ms=1000)\n",
                "record: dict) -> float": "record: list[dict]) -> list[float]",
                "return ask(self": "return ask_many(self",
            },
            body={"record": [RECORD]},
        ),
    ),
    "MLflow": Peer(
        ("mlflow", "scikit-learn", "pandas"),
        {},
        ("bin/mlflow", "models", "serve", "-m", "model", "--env-manager", "local", "--port", "PORT", "--workers", "1"),
        "/invocations",
        {"inputs": [list(RECORD.values())]},
        FIT + "import mlflow.sklearn\nmlflow.sklearn.save_model(fit(), 'model', pyfunc_predict_fn='predict_proba', "
        "serialization_format='cloudpickle')",
        dot=Variant(
            prepare=DOT
            + """
import mlflow.pyfunc

class Dot(mlflow.pyfunc.PythonModel):
    def load_context(self, context):
        self.model = fit()

    def predict(self, context, model_input):
        return [ask(self.model, dict(enumerate(each))) for each in np.asarray(model_input).tolist()]

mlflow.pyfunc.save_model("model", python_model=Dot())
"""
        ),
    ),
    "Ray Serve": Peer(
        ("ray[serve]", "scikit-learn"),
        {
            "serve.py": FIT
            + """
import threading
import ray
from ray import serve

@serve.deployment(num_replicas=1, max_ongoing_requests=64)
class Served:
    def __init__(self):
        self.model = fit()

    async def __call__(self, request):
        return ask(self.model, await request.json())

ray.init(num_cpus=2, logging_level="ERROR", include_dashboard=False)
serve.start(http_options={"host": "127.0.0.1", "port": PORT})
serve.run(Served.bind())
threading.Event().wait()
"""
        },
        ("bin/python", "serve.py"),
        "/",
        RECORD,
        more={"RAY_SERVE_LOG_TO_STDERR": "0"},
        batched=Variant(
            {
                "    async def __call__": f"    @serve.batch(max_batch_size={BATCH}, batch_wait_timeout_s={WAIT_S})\n"
                "    async def many(self, records):\n        return ask_many(self.model, records)\n\n"
                "    async def __call__",
                "return ask(self.model, await request.json())": "return await self.many(await request.json())",
            }
        ),
    ),
}


def _swapped(text: str, swaps: dict[str, str]) -> str:
    for before, after in swaps.items():
        text = text.replace(before, after)
    return text
