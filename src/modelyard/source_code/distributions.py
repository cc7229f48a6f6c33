"""Which distribution provides which import: curated, since the two names differ often and no package tells beforehand.

Used by `imports.py` to say what a source needs beyond what it requires, and by `names.py` to say how an undefined name
is imported. A name enters the table when it is widely used and its distribution is the one that its project documents;
a wrong pair would install a stranger's package, so names that are disputed or squatted stay out.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

#: Base packages -> the names that they are imported by. `environments/base.txt` pins them; a test compares the two.
BASE: Mapping[str, tuple[str, ...]] = {
    "certifi": ("certifi",),
    "charset-normalizer": ("charset_normalizer",),
    "cloudpickle": ("cloudpickle",),
    "duckdb": ("duckdb", "_duckdb"),
    "fastavro": ("fastavro",),
    "idna": ("idna",),
    "joblib": ("joblib",),
    "msgspec": ("msgspec",),
    "narwhals": ("narwhals",),
    "numpy": ("numpy",),
    "pandas": ("pandas",),
    "polars": ("polars",),
    "polars-runtime-32": ("_polars_runtime_32",),
    "pyarrow": ("pyarrow",),
    "python-calamine": ("python_calamine",),
    "python-dateutil": ("dateutil",),
    "pytz": ("pytz",),
    "requests": ("requests",),
    "scikit-learn": ("sklearn",),
    "scipy": ("scipy",),
    "threadpoolctl": ("threadpoolctl",),
    "tzdata": ("tzdata",),
    "urllib3": ("urllib3",),
}

#: Imported by the name of the distribution.
_SAME = """
abacusai accelerate aiohttp altair annoy anthropic arch arviz asyncpg attrs autograd av bertopic bitsandbytes black
bokeh boto3 botocore cachetools captum catboost causalml cffi chardet chromadb click colorama cryptography cupy cvxopt
cvxpy cython darts dask datasets deap deepchem diffusers dill distributed docopt docx2txt dowhy econml ecos einops
emoji evaluate fastai fastapi fastparquet fasttext feedparser filelock flask flax folium fsspec gensim geopandas geopy
gluonts gplearn gpytorch graphviz gym gymnasium h3 h5py hdbscan hmmlearn holidays holoviews httpx huggingface_hub
hyperopt igraph imageio interpret ipywidgets iso8601 jax jaxlib jellyfish jieba jinja2 jmespath jsonlines jsonschema
keras kmodes langchain langdetect langid librosa lifelines lightfm lightgbm lightning lime linearmodels litellm
llvmlite loguru lxml markdown matplotlib mlflow mlxtend mne mpmath multiprocess mypy networkx nevergrad ngboost nltk
numba numexpr onnx onnxruntime openai openpyxl optuna orjson osqp packaging pandera passlib patsy peft pendulum
phonenumbers plotly plotnine pmdarima polyline prefect prettytable prophet psutil psycopg pulp pycaret pycountry
pydantic pydot pygam pykalman pymc pymongo pynndescent pyod pypdf pyproj pystan pytesseract pytest pyvis ray redis
regex requests rich river rtree ruptures s3fs sacrebleu safetensors scs seaborn six semver sentencepiece setuptools shap
shapely simplejson skorch sktime snowballstemmer sortedcontainers soundfile spacy sqlalchemy sqlglot sqlparse stanza
statsforecast statsmodels streamlit stumpy sympy tables tabpfn tabulate tenacity tensorboard tensorflow textblob
textdistance textstat thefuzz thinc tiktoken timm tokenizers toml toolz torch torchaudio torchdata torchmetrics
torchtext torchvision tornado tpot tqdm transformers tsfresh tslearn typeguard typer typing_extensions ujson urllib3
uvicorn vaderSentiment vaex wandb websockets wordcloud wordfreq wrapt xarray xgboost xlrd xlsxwriter xxhash yarl
yellowbrick zarr zstandard
"""

#: Imported by another name. Dotted names are parts of namespaces that many distributions share.
_OTHER: Mapping[str, str] = {
    "Bio": "biopython",
    "Crypto": "pycryptodome",
    "IPython": "ipython",
    "MySQLdb": "mysqlclient",
    "OpenSSL": "pyOpenSSL",
    "PIL": "pillow",
    "attr": "attrs",
    "azure.identity": "azure-identity",
    "azure.storage.blob": "azure-storage-blob",
    "bs4": "beautifulsoup4",
    "category_encoders": "category-encoders",
    "community": "python-louvain",
    "cv2": "opencv-python-headless",
    "dateparser": "dateparser",
    "dns": "dnspython",
    "docx": "python-docx",
    "dotenv": "python-dotenv",
    "faiss": "faiss-cpu",
    "fastdtw": "fastdtw",
    "feature_engine": "feature-engine",
    "featuretools": "featuretools",
    "ffmpeg": "ffmpeg-python",
    "fitz": "PyMuPDF",
    "fuzzywuzzy": "fuzzywuzzy",
    "git": "GitPython",
    "google.auth": "google-auth",
    "google.cloud.bigquery": "google-cloud-bigquery",
    "google.cloud.storage": "google-cloud-storage",
    "google.generativeai": "google-generativeai",
    "google.protobuf": "protobuf",
    "googleapiclient": "google-api-python-client",
    "grpc": "grpcio",
    "haversine": "haversine",
    "imblearn": "imbalanced-learn",
    "implicit": "implicit",
    "jose": "python-jose",
    "jwt": "PyJWT",
    "kneed": "kneed",
    "Levenshtein": "Levenshtein",
    "magic": "python-magic",
    "missingno": "missingno",
    "mpl_toolkits": "matplotlib",
    "neuralprophet": "neuralprophet",
    "pptx": "python-pptx",
    "psycopg2": "psycopg2-binary",
    "pulp": "PuLP",
    "pymongo": "pymongo",
    "bson": "pymongo",
    "pymysql": "PyMySQL",
    "pylab": "matplotlib",
    "pyro": "pyro-ppl",
    "pytorch_lightning": "pytorch-lightning",
    "pytorch_tabnet": "pytorch-tabnet",
    "pytorch_forecasting": "pytorch-forecasting",
    "pywt": "PyWavelets",
    "rapidfuzz": "rapidfuzz",
    "rdkit": "rdkit",
    "ruamel.yaml": "ruamel.yaml",
    "scikitplot": "scikit-plot",
    "sentence_transformers": "sentence-transformers",
    "serial": "pyserial",
    "skimage": "scikit-image",
    "sklearn_pandas": "sklearn-pandas",
    "skopt": "scikit-optimize",
    "slugify": "python-slugify",
    "snowflake.connector": "snowflake-connector-python",
    "socks": "PySocks",
    "sparse": "sparse",
    "stable_baselines3": "stable-baselines3",
    "surprise": "scikit-surprise",
    "tensorflow_hub": "tensorflow-hub",
    "tensorflow_probability": "tensorflow-probability",
    "theano": "Theano",
    "torch_geometric": "torch-geometric",
    "umap": "umap-learn",
    "unidecode": "Unidecode",
    "usaddress": "usaddress",
    "websocket": "websocket-client",
    "yaml": "PyYAML",
    "yfinance": "yfinance",
    "zmq": "pyzmq",
}

#: Other distributions that provide known imports, beside the one that would be inferred.
_ALTERNATIVES: Mapping[str, tuple[str, ...]] = {
    "faiss-gpu": ("faiss",),
    "keras-nightly": ("keras",),
    "lightning": ("lightning", "pytorch_lightning", "lightning_fabric"),
    "opencv-contrib-python": ("cv2",),
    "opencv-contrib-python-headless": ("cv2",),
    "opencv-python": ("cv2",),
    "pillow-simd": ("PIL",),
    "psycopg2": ("psycopg2",),
    "pycryptodomex": ("Cryptodome",),
    "pymupdf": ("fitz", "pymupdf"),
    "python-levenshtein": ("Levenshtein",),
    "setuptools": ("setuptools", "pkg_resources"),
    "tensorflow-cpu": ("tensorflow", "keras"),
    "tensorflow-gpu": ("tensorflow", "keras"),
    "tensorflow": ("tensorflow", "keras"),
    "tf-nightly": ("tensorflow", "keras"),
    "xgboost-cpu": ("xgboost",),
}

#: Import name -> the distribution to add for it.
DISTRIBUTIONS: Mapping[str, str] = {
    **{name: name.replace("_", "-") for name in _SAME.split()},
    **_OTHER,
}
_BASE_NAMES = frozenset(name for names in BASE.values() for name in names)
#: Top-level import names that suggestions may name.
KNOWN_NAMES: Sequence[str] = sorted({name.partition(".")[0] for name in DISTRIBUTIONS} | _BASE_NAMES)


class Supply:
    """What an environment of these requirements, on top of the base packages, can import."""

    def __init__(self, requirements: Sequence[str]) -> None:
        self._names = set(_BASE_NAMES)
        #: Requirements whose import names are not known: they may provide anything.
        self.unknown: list[str] = []
        #: Import name -> the requirement whose marker leaves it out on this platform.
        self.excluded: dict[str, str] = {}
        for text in requirements:
            self._add(text)

    def provides(self, dotted: str) -> bool:
        """Whether the module of that dotted name, or what it is part of, is known to be there."""
        return any(prefix in self._names for prefix in _prefixes(dotted))

    def _add(self, text: str) -> None:
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            return
        names = names_of(requirement.name)
        if requirement.marker is not None and not requirement.marker.evaluate():
            self.excluded |= dict.fromkeys(
                (name.partition(".")[0] for name in names or guesses(requirement.name)), text
            )
            return
        if names is None and canonicalize_name(requirement.name) not in BASE:
            self.unknown.append(requirement.name)
        self._names.update(names or guesses(requirement.name))


def distribution_of(dotted: str) -> str | None:
    """The distribution that the table adds for an import; None where the table does not know."""
    return next((DISTRIBUTIONS[prefix] for prefix in _prefixes(dotted) if prefix in DISTRIBUTIONS), None)


def names_of(distribution: str) -> tuple[str, ...] | None:
    """The names that a distribution is imported by; None where nobody knows."""
    name = canonicalize_name(distribution)
    if name in BASE:
        return BASE[name]
    return (_names_by_distribution().get(name, ()) + _ALTERNATIVES.get(name, ())) or None


@cache
def _names_by_distribution() -> Mapping[str, tuple[str, ...]]:
    names: dict[str, tuple[str, ...]] = {}
    for each, provider in DISTRIBUTIONS.items():
        key = canonicalize_name(provider)
        names[key] = (*names.get(key, ()), each)
    return names


def guesses(distribution: str) -> tuple[str, ...]:
    """The names that a distribution is probably imported by."""
    plain = canonicalize_name(distribution).replace("-", "_")
    found = [plain, distribution.replace("-", "_"), distribution.partition(".")[0], plain.removeprefix("python_")]
    found += [plain.removesuffix("_python"), plain.removeprefix("py")]
    if plain.startswith(("google_", "azure_", "snowflake_", "opentelemetry_")):
        found.append(plain.partition("_")[0])
    return tuple(dict.fromkeys(name for name in found if name))


def _prefixes(dotted: str) -> Iterator[str]:
    """`a.b.c`, `a.b`, `a`; a name of absurd depth only as far as packages go."""
    parts = dotted.split(".", 8)[:8]
    return (".".join(parts[:count]) for count in range(len(parts), 0, -1))
