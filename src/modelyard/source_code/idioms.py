"""How names that everyone knows are imported, for the advice that goes with an undefined name.

Functions taken from a notebook come without the imports at its top, so `np` and `pd` are the commonest undefined names.
Source: the official SDK's client.py, which sends the bodies of the given functions alone.
"""

import sys
from collections.abc import Mapping

from modelyard.source_code import distributions

#: Name -> the module that it is an alias of.
ALIASES: Mapping[str, str] = {
    "np": "numpy",
    "pd": "pandas",
    "plt": "matplotlib.pyplot",
    "mpl": "matplotlib",
    "sns": "seaborn",
    "tf": "tensorflow",
    "sm": "statsmodels.api",
    "smf": "statsmodels.formula.api",
    "tsa": "statsmodels.tsa.api",
    "xgb": "xgboost",
    "lgb": "lightgbm",
    "lgbm": "lightgbm",
    "cb": "catboost",
    "pl": "polars",
    "pa": "pyarrow",
    "pq": "pyarrow.parquet",
    "pc": "pyarrow.compute",
    "nx": "networkx",
    "sp": "scipy",
    "stats": "scipy.stats",
    "st": "scipy.stats",
    "jnp": "jax.numpy",
    "nn": "torch.nn",
    "F": "torch.nn.functional",
    "optim": "torch.optim",
    "px": "plotly.express",
    "go": "plotly.graph_objects",
    "dt": "datetime",
    "xr": "xarray",
    "gpd": "geopandas",
    "dd": "dask.dataframe",
    "da": "dask.array",
    "pm": "pymc",
    "az": "arviz",
}

#: Module -> names that are usually imported from it.
MEMBERS: Mapping[str, str] = {
    "pandas": "DataFrame Series Timestamp Timedelta",
    "numpy": "ndarray",
    "sklearn.base": "BaseEstimator TransformerMixin RegressorMixin ClassifierMixin clone",
    "sklearn.compose": "ColumnTransformer TransformedTargetRegressor make_column_transformer",
    "sklearn.cluster": "KMeans DBSCAN",
    "sklearn.decomposition": "PCA TruncatedSVD",
    "sklearn.ensemble": "RandomForestRegressor RandomForestClassifier GradientBoostingRegressor "
    "GradientBoostingClassifier HistGradientBoostingRegressor HistGradientBoostingClassifier IsolationForest",
    "sklearn.feature_extraction.text": "TfidfVectorizer CountVectorizer",
    "sklearn.impute": "SimpleImputer",
    "sklearn.linear_model": "LinearRegression LogisticRegression Ridge Lasso ElasticNet SGDRegressor SGDClassifier",
    "sklearn.metrics": "mean_squared_error mean_absolute_error r2_score accuracy_score f1_score roc_auc_score "
    "precision_score recall_score confusion_matrix log_loss",
    "sklearn.model_selection": "train_test_split GridSearchCV RandomizedSearchCV KFold StratifiedKFold cross_val_score",
    "sklearn.neighbors": "KNeighborsRegressor KNeighborsClassifier",
    "sklearn.pipeline": "Pipeline make_pipeline FeatureUnion",
    "sklearn.preprocessing": "StandardScaler MinMaxScaler RobustScaler OneHotEncoder OrdinalEncoder LabelEncoder "
    "PolynomialFeatures QuantileTransformer FunctionTransformer",
    "sklearn.svm": "SVR SVC",
    "sklearn.tree": "DecisionTreeRegressor DecisionTreeClassifier",
    "xgboost": "XGBRegressor XGBClassifier DMatrix",
    "lightgbm": "LGBMRegressor LGBMClassifier",
    "catboost": "CatBoostRegressor CatBoostClassifier CatBoost Pool",
    "collections": "defaultdict Counter OrderedDict namedtuple deque",
    "dataclasses": "dataclass",
    "datetime": "timedelta timezone",
    "functools": "partial lru_cache reduce wraps",
    "pathlib": "Path",
    "typing": "Any Callable ClassVar Dict Iterable Iterator List Literal Mapping NamedTuple Optional Sequence Set "
    "Tuple Union",
    "math": "sqrt ceil floor isnan",
    "decimal": "Decimal",
}


def import_for(name: str) -> str | None:
    """The statement that imports a well-known name; None for all others."""
    if name in ALIASES:
        return f"import {ALIASES[name]} as {name}"
    for module, members in MEMBERS.items():
        if name in members.split():
            return f"from {module} import {name}"
    if name in sys.stdlib_module_names or name in distributions.KNOWN_NAMES:
        return f"import {name}"
    return None
